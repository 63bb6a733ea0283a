//! Fixed marks inside questions and answers, in one place so that training and inference agree.

/// Heads the calls that were already made, between question and step (`paratool` wording).
pub const HISTORY: &str = "[TOOLCALL_HISTORY]";
/// Ends a step after which more calls follow.
pub const CONTINUE: &str = "<CALL_CONT>";
/// Ends the last step.
pub const END: &str = "<CALL_END>";

/// Splits an answer into its calls and its status mark, if it ends with one.
pub fn split(answer: &str) -> (&str, Option<&'static str>) {
    let answer = answer.trim_end();
    [CONTINUE, END]
        .into_iter()
        .find_map(|mark| answer.strip_suffix(mark).map(|calls| (calls, Some(mark))))
        .unwrap_or((answer, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_split_off_only_at_the_end() {
        assert_eq!(split("[f(a=1)]<CALL_CONT>"), ("[f(a=1)]", Some(CONTINUE)));
        assert_eq!(split("[f(a=1)]<CALL_END>\n"), ("[f(a=1)]", Some(END)));
        assert_eq!(split("[f(a='<CALL_END>')]"), ("[f(a='<CALL_END>')]", None));
    }
}
