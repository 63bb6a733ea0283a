//! Questions as one text.

use serde_json::Value;

use crate::error::Problem;

/// A question in any of its stored forms (text, message list, list of message lists) as one text: lists are flattened and the contents
/// joined by one newline; roles are lost.
///
/// # Errors
/// Anything else, named by its place under `question`.
pub fn normalise(question: &Value) -> Result<String, Problem> {
    let mut parts = Vec::new();
    match question {
        Value::String(text) => parts.push(text.as_str()),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                collect(item, &format!("question[{i}]"), &mut parts)?;
            }
        }
        _ => return Err(Problem::new("question", "expected a string, messages or turns of messages")),
    }
    Ok(parts.join("\n"))
}

fn collect<'a>(item: &'a Value, field: &str, parts: &mut Vec<&'a str>) -> Result<(), Problem> {
    match item {
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(i, item)| collect(item, &format!("{field}[{i}]"), parts))
        }
        Value::Object(message) => {
            let content = message.get("content").and_then(Value::as_str);
            parts.push(content.ok_or_else(|| Problem::new(format!("{field}.content"), "expected a string"))?);
            Ok(())
        }
        _ => Err(Problem::new(field, "expected a message {role, content} or a list of them")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn every_stored_form_gives_the_same_text(contents in prop::collection::vec(".{0,20}", 1..5), cut in 0usize..5) {
            let messages: Vec<Value> = contents.iter().map(|c| json!({"role": "user", "content": c})).collect();
            let (first, second) = messages.split_at(cut.min(messages.len()));
            let text = contents.join("\n");
            prop_assert_eq!(normalise(&json!(text)), Ok(text.clone()));
            prop_assert_eq!(normalise(&json!(messages)), Ok(text.clone()));
            prop_assert_eq!(normalise(&json!([first, second])), Ok(text));
        }
    }

    #[test]
    fn what_is_no_message_is_named_by_its_place() {
        let place = |question| normalise(&question).unwrap_err().field;
        assert_eq!(place(json!(3)), "question");
        assert_eq!(place(json!([["a"]])), "question[0][0]");
        assert_eq!(
            place(json!([[{"role": "user", "content": "a"}, {"role": "user"}]])),
            "question[0][1].content"
        );
    }
}
