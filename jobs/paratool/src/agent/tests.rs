#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use serde_json::json;

use super::*;

/// Answers from a list, and keeps what it was asked.
struct Script {
    answers: Vec<&'static str>,
    contexts: Vec<String>,
    questions: Vec<String>,
    weights: Vec<Vec<f32>>,
}

impl Script {
    fn new(answers: &[&'static str]) -> Self {
        let answers = answers.iter().rev().copied().collect();
        Self { answers, contexts: Vec::new(), questions: Vec::new(), weights: Vec::new() }
    }
}

impl Model for Script {
    fn gate(&mut self, context: &str) -> Result<Vec<f32>, Failure> {
        self.contexts.push(context.to_owned());
        Ok(vec![0.2, 0.5, 0.3])
    }

    fn answer(&mut self, messages: &[Message], weights: &[f32], until_mark: bool) -> Result<String, Failure> {
        assert!(until_mark);
        self.questions.push(messages.last().unwrap().content.clone());
        self.weights.push(weights.to_vec());
        Ok(self.answers.pop().unwrap_or("[f(again=1)]").to_owned())
    }
}

fn tools() -> Vec<Tool> {
    ["f", "g", "h"].map(|name| Tool::new(json!({"name": name, "parameters": {}})).unwrap()).to_vec()
}

fn run(weights: Option<Weights>, gold: &[&str], script: &mut Script) -> String {
    let (tools, gold) = (tools(), gold.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let task = Task { question: "Do it.", tools: &tools, gold: &gold, multi_step: true };
    let prompt = Prompt::default();
    answer(&task, &Policy { prompt: &prompt, documents: false, weights }, script).unwrap()
}

#[test]
fn steps_see_the_calls_before_them_and_the_end_mark_ends() {
    let mut script = Script::new(&["[f(a='x')]<CALL_CONT>", "[g(b=2)]<CALL_END>", "[h(c=3)]<CALL_END>"]);
    assert_eq!(run(Some(Weights::Gate), &[], &mut script), "[f(a='x'), g(b=2)]");
    let second = "Do it.\n\n[TOOLCALL_HISTORY]\n[f(a='x')]";
    assert_eq!(script.questions, ["Do it.", second]);
    assert_eq!(script.contexts, script.questions);
    assert_eq!(script.weights, [[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]]);
}

#[test]
fn a_repeated_call_is_made_once_and_a_missing_mark_means_go_on() {
    let mut script = Script::new(&["[f(a=1)]", "[f(a=1), g(b=2)]<CALL_CONT>", "[f(a=2)]<CALL_END>"]);
    assert_eq!(run(None, &[], &mut script), "[f(a=1), g(b=2), f(a=2)]");
    assert_eq!(script.weights, [[], [], []] as [[f32; 0]; 3]);
}

#[test]
fn an_unreadable_answer_ends_and_the_first_one_is_the_output() {
    let mut script = Script::new(&["[f(a=1)]<CALL_CONT>", "I am done.", "[g(b=2)]<CALL_END>"]);
    assert_eq!(run(None, &[], &mut script), "[f(a=1)]");
    assert_eq!(run(None, &[], &mut Script::new(&["No function fits."])), "No function fits.");
    assert_eq!(run(None, &[], &mut Script::new(&["[]<CALL_CONT>"])), "[]");
}

#[test]
fn the_loop_ends_two_steps_after_the_number_of_tools() {
    let mut script = Script::new(&[]);
    assert_eq!(run(Some(Weights::Uniform), &[], &mut script), "[f(again=1)]");
    assert_eq!(script.questions.len(), 5);
    assert_eq!(script.weights[4], [1.0 / 3.0; 3]);
}

#[test]
fn weights_follow_the_policy() {
    let answers = ["[g(a=1)]<CALL_CONT>", "[f(a=1)]<CALL_CONT>", "[g(a=2)]<CALL_CONT>", "[g(a=3)]<CALL_END>"];
    let mut script = Script::new(&answers);
    run(Some(Weights::Top1), &[], &mut script);
    assert_eq!(script.weights, [[0.0, 1.0, 0.0]; 4]);
    let mut script = Script::new(&answers);
    run(Some(Weights::Oracle), &["f", "g", "g"], &mut script);
    // Gold calls f, g, g in any order: f until f is made, then g for the second g, then g as the last one.
    assert_eq!(script.weights, [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]);
    let mut single = task_weights(&["h", "g", "h"]);
    assert_eq!(single.remove(0), [0.0, 0.5, 0.5]);
}

/// The oracle's weights where there is one step only.
fn task_weights(gold: &[&str]) -> Vec<Vec<f32>> {
    let (tools, gold) = (tools(), gold.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    vec![oracle(&Task { question: "", tools: &tools, gold: &gold, multi_step: false }, &[])]
}
