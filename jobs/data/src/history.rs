//! The text of a step: the question with the calls already made. One builder for synthesis and inference, so that both agree.

use jobs_eval::bfcl::{Call, decode, render_calls};

use crate::marks;

/// The question alone before the first call, else question, blank line, mark and the calls as Python.
pub fn with_history(question: &str, calls: &[Call]) -> String {
    if calls.is_empty() {
        return question.to_owned();
    }
    format!("{question}\n\n{}\n{}", marks::HISTORY, render_calls(calls))
}

/// Splits a step's text into the question and all that stands behind it: mark and calls, or nothing before the first call.
pub fn split(text: &str) -> (&str, &str) {
    let start = text.rfind(&format!("\n\n{}\n", marks::HISTORY));
    text.split_at(start.unwrap_or(text.len()))
}

/// The steps before this one: each call of the history with the text that it followed. None where the history holds no readable calls.
pub fn earlier(text: &str) -> Vec<(String, Call)> {
    let (question, history) = split(text);
    let calls = history.trim_start().strip_prefix(marks::HISTORY).and_then(|calls| decode(calls).ok());
    let calls = calls.unwrap_or_default();
    (0..calls.len()).map(|made| (with_history(question, &calls[..made]), calls[made].clone())).collect()
}

#[cfg(test)]
mod tests {
    use jobs_eval::bfcl::Value;

    use super::*;

    #[test]
    fn calls_follow_the_question_under_their_mark() {
        let call = Call { name: "f".to_owned(), args: vec![("a".to_owned(), Value::str("x"))] };
        assert_eq!(with_history("Do it.", &[]), "Do it.");
        assert_eq!(with_history("Do it.", &[call]), "Do it.\n\n[TOOLCALL_HISTORY]\n[f(a='x')]");
    }

    #[test]
    fn a_text_holds_its_earlier_steps() {
        let call =
            |name: &str, x| Call { name: name.to_owned(), args: vec![("x".to_owned(), Value::str(x))] };
        let calls = [call("f", "it's"), call("a.b", "[y]"), call("g", "\n\n[TOOLCALL_HISTORY]\n[f()]")];
        for made in 0..=calls.len() {
            let text = with_history("Do\n\nit.", &calls[..made]);
            let steps: Vec<_> = calls[..made]
                .iter()
                .enumerate()
                .map(|(i, call)| (with_history("Do\n\nit.", &calls[..i]), call.clone()))
                .collect();
            assert_eq!(earlier(&text), steps);
            assert_eq!(split(&text), text.split_at("Do\n\nit.".len()));
        }
        assert_eq!(earlier("Do it.\n\n[TOOLCALL_HISTORY]\nnothing yet"), []);
        assert_eq!(earlier(""), []);
    }
}
