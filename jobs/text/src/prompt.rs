//! The two messages that every request becomes: what the model is told (system) and what is asked (user).
//!
//! The system message has two forms. With documents it shows the candidates' schemas; without, only what
//! [`DocumentFree`] allows, since the tools then live in adapters. [`PromptStyle::Full`] has all parts of the paper's prompt in words of
//! our own; [`PromptStyle::Terse`] has names or shortened schemas alone, for models that no instruction can guide.

use jobs_data::marks::{CONTINUE, END, HISTORY};
use jobs_spec::manifest::{DocumentFree, Prompt, PromptStyle};
use serde_json::{Map, Value};

use crate::{Message, Role, json};

const ROLE: &str = "You turn requests into function calls.";
const TASK_WITH_DOCUMENTS: &str = "Answer with the one call or the several calls that serve the request. If no function fits, or a \
    required value is missing, say so instead.";
const TASK_WITHOUT: &str = "Answer with the one call or the several calls that serve the request. Descriptions of the functions are not \
    given: you know how they are called.";
const RULES: &str = "Rules:
- Write calls and nothing else.
- Write them as [first(a=1), second(b='x')].
- Name every argument and give it a literal value.
- Several calls stand in the order in which they have to be made.";

/// What one prompt is about.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The candidates' schemas (`name`, `description`, `parameters`), in prompt order.
    pub tools: &'a [&'a Value],
    /// The request, with the history of earlier steps if there is one.
    pub question: &'a str,
    /// Show the schemas.
    pub documents: bool,
    /// Ask for one step's calls, ended by a mark.
    pub multi_step: bool,
}

/// The messages of a request. Where a prompt would tell nothing there is no system message.
pub fn messages(settings: &Prompt, request: &Request<'_>) -> Vec<Message> {
    let parts = match settings.style {
        PromptStyle::Full => full(settings.document_free, request),
        PromptStyle::Terse => terse(settings.document_free, request),
    };
    let separator = match settings.style {
        PromptStyle::Full => "\n\n",
        PromptStyle::Terse => "\n",
    };
    let system = Message { role: Role::System, content: parts.join(separator) };
    let user = Message { role: Role::User, content: request.question.to_owned() };
    if system.content.is_empty() { vec![user] } else { vec![system, user] }
}

fn full(free: DocumentFree, request: &Request<'_>) -> Vec<String> {
    let task = if request.documents { TASK_WITH_DOCUMENTS } else { TASK_WITHOUT };
    let mut parts = vec![format!("{ROLE} {task}")];
    if !request.documents && free != DocumentFree::Nothing {
        let lines = request.tools.iter().map(|tool| format!("- {}", shown(free, tool)));
        let lines = if request.tools.is_empty() {
            "- (none)".to_owned()
        } else {
            lines.collect::<Vec<_>>().join("\n")
        };
        parts.push(format!("Functions:\n{lines}"));
    }
    parts.push(RULES.to_owned());
    if request.documents {
        let documents = Value::Array(request.tools.iter().map(|tool| (*tool).clone()).collect());
        parts.push(format!("Function documents:\n{}", json::indented(&documents, 2)));
    }
    if request.multi_step {
        parts.push(format!(
            "One step at a time:
- Calls under {HISTORY} have been made; never repeat one.
- Write only the calls of this step.
- Write as few as will do, usually exactly one.
- End with exactly one mark: {CONTINUE} when calls are still to follow, {END} when none are."
        ));
    }
    parts
}

fn terse(free: DocumentFree, request: &Request<'_>) -> Vec<String> {
    let mut parts = match (request.documents, free) {
        (true, _) => request.tools.iter().map(|tool| json::compact(&digest(tool))).collect(),
        (false, DocumentFree::Nothing) => Vec::new(),
        (false, _) => {
            vec![request.tools.iter().map(|tool| shown(free, tool)).collect::<Vec<_>>().join(", ")]
        }
    };
    if request.multi_step {
        parts.push("one step".to_owned());
    }
    parts
}

/// What the document-free prompt tells of a tool.
fn shown(free: DocumentFree, tool: &Value) -> String {
    let name = tool["name"].as_str().unwrap_or_default();
    if free != DocumentFree::Signatures {
        return name.to_owned();
    }
    let parameters = properties(tool).map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    format!("{name}({})", parameters.join(", "))
}

/// A schema cut down to the tool's name and its parameters' types or choices.
fn digest(tool: &Value) -> Value {
    let kind = |property: &Value| property.get("enum").unwrap_or(&property["type"]).clone();
    let parameters: Map<_, _> =
        properties(tool).map(|(name, property)| (name.clone(), kind(property))).collect();
    serde_json::json!({"name": tool["name"], "parameters": parameters})
}

fn properties(tool: &Value) -> impl Iterator<Item = (&String, &Value)> {
    tool["parameters"]["properties"].as_object().into_iter().flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "helpers of tests")]
mod tests {
    use super::*;

    fn tool() -> Value {
        serde_json::json!({
            "name": "geo.find", "description": "Sucht größere Orte.",
            "parameters": {"type": "dict", "required": ["city"], "properties": {
                "city": {"type": "string", "description": "Ort"},
                "unit": {"type": "string", "enum": ["km", "mi"]},
            }},
        })
    }

    fn text(style: PromptStyle, free: DocumentFree, documents: bool, multi_step: bool) -> Vec<String> {
        let tool = tool();
        let request = Request { tools: &[&tool], question: "Wo?", documents, multi_step };
        let settings = Prompt { style, document_free: free, ..Prompt::default() };
        messages(&settings, &request).into_iter().map(|m| m.content).collect()
    }

    #[test]
    fn a_full_prompt_has_its_parts_in_order() {
        let with = &text(PromptStyle::Full, DocumentFree::Names, true, true)[0];
        let parts = [ROLE, "say so instead", "Rules:", "Function documents:\n[\n  {\n", "größere", END];
        let places: Vec<_> = parts.iter().map(|part| with.find(part).unwrap()).collect();
        assert!(places.is_sorted(), "{with}");

        let without = &text(PromptStyle::Full, DocumentFree::Names, false, false)[0];
        assert!(without.contains("\n- geo.find\n"), "{without}");
        assert!(!without.contains("größere") && !without.contains("city") && !without.contains(END));
        let signatures = &text(PromptStyle::Full, DocumentFree::Signatures, false, false)[0];
        assert!(signatures.contains("\n- geo.find(city, unit)\n"), "{signatures}");
        let nothing = &text(PromptStyle::Full, DocumentFree::Nothing, false, false)[0];
        assert!(!nothing.contains("geo.find") && nothing.contains("Rules:"));
    }

    #[test]
    fn a_terse_prompt_is_short() {
        let terse = |free, documents, multi_step| text(PromptStyle::Terse, free, documents, multi_step);
        let digest = r#"{"name":"geo.find","parameters":{"city":"string","unit":["km","mi"]}}"#;
        assert_eq!(terse(DocumentFree::Names, true, false), [digest, "Wo?"]);
        assert_eq!(terse(DocumentFree::Names, false, true), ["geo.find\none step", "Wo?"]);
        assert_eq!(terse(DocumentFree::Signatures, false, false), ["geo.find(city, unit)", "Wo?"]);
        assert_eq!(terse(DocumentFree::Nothing, false, false), ["Wo?"]);
    }
}
