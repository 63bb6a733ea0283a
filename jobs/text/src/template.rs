//! Chat templates: Jinja as transformers renders it.

use std::fmt;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};

use crate::{TextError, json};

/// The file of a chat template in a model folder.
pub(crate) const FILE: &str = "chat_template.jinja";
/// The file of a tokenizer's settings, which may hold the template instead.
pub(crate) const SETTINGS_FILE: &str = "tokenizer_config.json";

const NAME: &str = "chat";

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one who sets the rules.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A model's chat template with the special tokens that it may name.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: Vec<(String, String)>,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("special", &self.special).finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// The template of a model folder: `chat_template.jinja`, else `chat_template` in `tokenizer_config.json`.
    ///
    /// # Errors
    /// When there is no template, or a file is unreadable or not what it should be.
    pub fn load(folder: &Path) -> Result<Self, TextError> {
        let (file, settings_file) = (folder.join(FILE), folder.join(SETTINGS_FILE));
        let settings = read_json(&settings_file)?;
        let special = special_tokens(settings.as_ref());
        match std::fs::read_to_string(&file) {
            Ok(source) => Self::new(source, special).map_err(|cause| TextError::malformed(&file, cause)),
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(TextError::io(&file, cause)),
            Err(cause) => {
                let source = settings.as_ref().and_then(template_of).ok_or(TextError::io(&file, cause))?;
                Self::new(source, special).map_err(|cause| TextError::malformed(&settings_file, cause))
            }
        }
    }

    fn new(source: String, special: Vec<(String, String)>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, source)?;
        Ok(Self { environment, special })
    }

    /// The chat as text. With `add_generation_prompt` it ends where the model's answer begins.
    ///
    /// # Errors
    /// When the template refuses the messages.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let special =
            Value::from_pairs(self.special.iter().map(|(name, token)| (name.as_str(), token.as_str())));
        let none = || Value::from(());
        let messages = messages.iter().map(|message| {
            Value::from_pairs([("role", message.role.name()), ("content", message.content.as_str())])
        });
        let messages = messages.collect::<Vec<_>>();
        let context = context! {
            messages, add_generation_prompt, tools => none(), documents => none(), ..special
        };
        let template = self.environment.get_template(NAME);
        template.and_then(|t| t.render(context)).map_err(|cause| TextError::Template(cause.to_string()))
    }
}

/// A JSON file; `None` when there is none.
pub(crate) fn read_json(file: &Path) -> Result<Option<serde_json::Value>, TextError> {
    match std::fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|cause| TextError::malformed(file, cause)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(TextError::io(file, cause)),
    }
}

/// The text of a special token, which is a string or an object with the string as `content`.
pub(crate) fn token_text(token: &serde_json::Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

fn special_tokens(settings: Option<&serde_json::Value>) -> Vec<(String, String)> {
    let fields = settings.and_then(|s| s.as_object()).into_iter().flatten();
    let tokens = fields.filter(|(name, _)| name.ends_with("_token"));
    tokens.filter_map(|(name, token)| Some((name.clone(), token_text(token)?.to_owned()))).collect()
}

/// The template in a tokenizer's settings: one text, or the one called `default` of several.
fn template_of(settings: &serde_json::Value) -> Option<String> {
    let field = settings.get("chat_template")?;
    let named = || {
        let default = field.as_array()?.iter().find(|entry| entry["name"] == "default")?;
        default["template"].as_str()
    };
    field.as_str().or_else(named).map(str::to_owned)
}

/// Python's `json.dumps` with `ensure_ascii=False`, which transformers puts in the place of Jinja's escaping filter.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let value = serde_json::to_value(value)
        .map_err(|cause| Error::new(ErrorKind::InvalidOperation, cause.to_string()))?;
    Ok(indent.map_or_else(|| json::spaced(&value), |indent| json::indented(&value, indent)))
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The date that every prompt bears: the one that Llama 3.1's template falls back to. A real clock would make results depend on the day.
fn strftime_now(format: String) -> Result<String, Error> {
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = rest.next().unwrap_or('%');
        out.push_str(match directive {
            'd' => "26",
            'b' => "Jul",
            'B' => "July",
            'm' => "07",
            'Y' => "2024",
            'y' => "24",
            'a' => "Fri",
            'A' => "Friday",
            'H' | 'M' | 'S' => "00",
            '%' => "%",
            other => {
                let message = format!("strftime_now knows no %{other}");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        });
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "helpers of tests")]
mod tests {
    use super::{ChatTemplate, Message, Role};

    fn render(source: &str, messages: &[Message]) -> Result<String, crate::TextError> {
        let special = vec![("bos_token".to_owned(), "<s>".to_owned())];
        ChatTemplate::new(source.to_owned(), special).unwrap().render(messages, true)
    }

    fn message(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }

    #[test]
    fn renders_what_published_templates_use() {
        let source = "{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now(\"%d %b %Y\") %}
{%- endif %}
{{- date_string }}
{%- set ns = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- set ns.last = (messages|length - 1) - loop.index0 %}
    {%- if message['role'] == 'user' and message.content.startswith('q') %}{% break %}{%- endif %}
{%- endfor %}
{{- '|' + ns.last|string }}
{%- for message in messages %}
    {{- '|' + message['role'] + ':' + message['content'] | trim }}
{%- endfor %}
{%- if tools is none and add_generation_prompt %}
    {{- '|' + {'ü': [1, 'a<b']}|tojson }}
{%- endif %}
";
        let chat = [message(Role::System, "\n s "), message(Role::User, "q"), message(Role::User, "x")];
        assert_eq!(
            render(source, &chat).unwrap(),
            "<s>26 Jul 2024|1|system:s|user:q|user:x|{\"ü\": [1, \"a<b\"]}"
        );
    }

    #[test]
    fn a_template_can_refuse() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err().to_string();
        assert!(error.contains("roles must alternate"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
