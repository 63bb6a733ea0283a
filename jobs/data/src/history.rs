//! The text of a step: the question with the calls already made. One builder for synthesis and inference, so that both agree.

use jobs_eval::bfcl::{Call, render_calls};

use crate::marks;

/// The question alone before the first call, else question, blank line, mark and the calls as Python.
pub fn with_history(question: &str, calls: &[Call]) -> String {
    if calls.is_empty() {
        return question.to_owned();
    }
    format!("{question}\n\n{}\n{}", marks::HISTORY, render_calls(calls))
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
}
