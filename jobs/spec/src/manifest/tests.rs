use proptest::prelude::*;

use super::*;

const VALID: &str = "\
name: demo
base:
  path: base
dataset:
  records:
    path: tools
stages:
  pretrain: {rank: 8, lr: 1e-3}
  gate:
    lambda: 0.3
    lambda_by_category:
      parallel: 0.1
evaluate:
  categories: [multiple, parallel]
  variants:
    - {name: base, adapters: none}
    - name: soft
";

fn message(text: &str) -> String {
    parse(text, "demo.yaml").unwrap_err().to_string()
}

/// `VALID` with one line in place of another.
fn with(line: &str, instead: &str) -> String {
    assert!(VALID.contains(line), "{line}");
    VALID.replacen(line, instead, 1)
}

#[test]
fn a_manifest_keeps_what_it_says_and_defaults_the_rest() {
    let document = parse(VALID, "demo.yaml").unwrap();
    let [point] = document.points.as_slice() else { panic!("one point") };
    assert!(point.settings.is_empty());
    let manifest = &point.manifest;
    assert_eq!((manifest.stages.pretrain.rank, manifest.stages.pretrain.lr), (8, 1e-3));
    assert_eq!(manifest.stages.pretrain.alpha, Pretrain::default().alpha);
    assert_eq!(manifest.stages.gate.lambda, 0.3);
    let evaluate = manifest.evaluate.as_ref().unwrap();
    assert_eq!(evaluate.variants[0].adapters, AdapterSet::None);
    assert_eq!(evaluate.variants[1], Variant::soft());
}

#[test]
fn every_mistake_is_one_line_with_file_line_and_field() {
    let cases = [
        (
            with("    lambda: 0.3", "    lamda: 0.3"),
            "demo.yaml:10: stages.gate.lamda: unknown key (nearest: `lambda`)",
        ),
        (with("stages:", "stage:"), "demo.yaml:7: stage: unknown key (nearest: `stages`)"),
        (
            with("    lambda: 0.3", "    zzz: 1"),
            "demo.yaml:10: stages.gate.zzz: unknown key (allowed: hidden, epochs, lr, batch, lambda, lambda_by_category, lambda_per_log_candidates, distractors, tool_vector, held_out)",
        ),
        (
            with("rank: 8", "rank: eight"),
            "demo.yaml:8: stages.pretrain.rank: must be a whole number of at least 0, is `eight`",
        ),
        (
            with("rank: 8", "rank: 8.5"),
            "demo.yaml:8: stages.pretrain.rank: must be a whole number of at least 0, is 8.5",
        ),
        (
            with("rank: 8", "rank: -8"),
            "demo.yaml:8: stages.pretrain.rank: must be a whole number of at least 0, is -8",
        ),
        (with("rank: 8", "rank: 0"), "demo.yaml:8: stages.pretrain.rank: must be at least 1, is 0"),
        (
            with("rank: 8", "rank: [8]"),
            "demo.yaml:8: stages.pretrain.rank: must be a whole number of at least 0, is a list",
        ),
        (with("lr: 1e-3", "lr: .nan"), "demo.yaml:8: stages.pretrain.lr: must be above 0 and finite, is NaN"),
        (with("lr: 1e-3", "lr: 0"), "demo.yaml:8: stages.pretrain.lr: must be above 0 and finite, is 0"),
        (
            with("lr: 1e-3", "with_documents: yes"),
            "demo.yaml:8: stages.pretrain.with_documents: must be true or false, is `yes`",
        ),
        (
            with("      parallel: 0.1", "      parallel: -1"),
            "demo.yaml:12: stages.gate.lambda_by_category.parallel: must be at least 0 and finite, is -1",
        ),
        (
            with("      parallel: 0.1", "      paralel: 0.1"),
            "demo.yaml:12: stages.gate.lambda_by_category.paralel: unknown value `paralel` (nearest: `parallel`)",
        ),
        (
            with("    lambda: 0.3", "    held_out: 1"),
            "demo.yaml:10: stages.gate.held_out: must be at least 0 and below 1, is 1",
        ),
        (
            with("    lambda: 0.3", "    epochs: 1\n    epochs: 2"),
            "demo.yaml:11: stages.gate.epochs: duplicate key, first on line 10",
        ),
        (with("name: demo", "seed: 1"), "demo.yaml:1: name: missing"),
        (
            with("name: demo", "name: de/mo"),
            "demo.yaml:1: name: may hold letters, digits, `-`, `_` and `.`, not '/'",
        ),
        (with("name: demo", "name: '12'"), "demo.yaml:1: name: needs a letter, is `12`"),
        (
            with("name: demo", "name: 12"),
            "demo.yaml:1: name: must be text (in quotes if it looks like a number), is 12",
        ),
        (with("    path: tools", "    categories: [multiple]"), "demo.yaml:5: dataset.records.path: missing"),
        (
            with("  records:", "  recods:"),
            "demo.yaml:5: dataset.recods: unknown value `recods` (nearest: `records`)",
        ),
        (
            with("  path: base", "  path: base\n  train: {}"),
            "demo.yaml:2: base: needs exactly one of `path`, `train`",
        ),
        (
            with("  path: base", "  train: {hidden: 100}"),
            "demo.yaml:3: base.train.hidden: must be an even multiple of `heads` (6), is 100",
        ),
        (
            with("  path: base", "  train: {kv_heads: 4}"),
            "demo.yaml:3: base.train.kv_heads: must divide `heads` (6), is 4",
        ),
        (
            with("  path: base", "  train: {prompt_weight: -1}"),
            "demo.yaml:3: base.train.prompt_weight: must be at least 0 and finite, is -1",
        ),
        (
            with("  path: base", "  train: {beta2: 1.0}"),
            "demo.yaml:3: base.train.beta2: must be at least 0 and less than 1, is 1",
        ),
        (
            with("  pretrain: {rank: 8, lr: 1e-3}", "  pretrain:"),
            "demo.yaml:8: stages.pretrain: must be a mapping of fields, is empty",
        ),
        (
            with("  pretrain: {rank: 8, lr: 1e-3}", "  pretrain: [8]"),
            "demo.yaml:8: stages.pretrain: must be a mapping of fields, is [8]",
        ),
        (
            with("  pretrain: {rank: 8, lr: 1e-3}", "  embed: {q_encoder: {bge: bge}, layer: first}"),
            "demo.yaml:8: stages.embed.layer: is for `q_encoder: base`; a BERT encoder has its own way",
        ),
        (
            with("  pretrain: {rank: 8, lr: 1e-3}", "  embed: {q_encoder: {bge: bge}, pooling: parts}"),
            "demo.yaml:8: stages.embed.pooling: is for `q_encoder: base`; a BERT encoder has its own way",
        ),
        (
            with("    lambda: 0.3", "    tool_vector: documents"),
            "demo.yaml:10: stages.gate.tool_vector: unknown value `documents` (nearest: `document`)",
        ),
        (
            with("[multiple, parallel]", "[multiple, multiple]"),
            "demo.yaml:14: evaluate.categories[1]: multiple stands twice",
        ),
        (
            with("[multiple, parallel]", "[]"),
            "demo.yaml:14: evaluate.categories: is empty; leave it out for the default",
        ),
        (
            with("    path: tools", "    path: tools\n    categories: [multiple]"),
            "demo.yaml:15: evaluate.categories[1]: is not in the dataset's categories (multiple)",
        ),
        (
            with("    - name: soft", "    - name: base"),
            "demo.yaml:17: evaluate.variants[1].name: `base` stands twice",
        ),
        (
            with("adapters: none", "weights: oracel"),
            "demo.yaml:16: evaluate.variants[0].weights: unknown value `oracel` (nearest: `oracle`)",
        ),
        (
            with("    - name: soft", "    - adapters: none"),
            "demo.yaml:17: evaluate.variants[1].name: missing",
        ),
        (
            with("evaluate:", "evaluate:\n  generation: {top_p: 0}"),
            "demo.yaml:14: evaluate.generation.top_p: must be above 0 and at most 1, is 0",
        ),
        (
            "name: demo\nbase: {path: b}\n".to_owned(),
            "demo.yaml:1: dataset: missing: with a base that is there already nothing is left to do",
        ),
        (
            "name: demo\nbase: {train: {}}\nevaluate: {}\n".to_owned(),
            "demo.yaml:1: dataset: missing: `evaluate` needs one",
        ),
        ("[]".to_owned(), "demo.yaml:1: must be a mapping of fields, is []"),
        (String::new(), "demo.yaml:1: must be a mapping of fields, is empty"),
    ];
    for (text, expected) in cases {
        assert_eq!(message(&text), expected, "{text}");
    }
}

#[test]
fn broken_yaml_names_its_line() {
    for (text, start) in [
        ("name: demo\nbase: {path: [\n", "demo.yaml:"),
        ("name: demo\n\tbase: x\n", "demo.yaml:1: "),
        ("name: demo\n base: x\n", "demo.yaml:2: "),
        ("name: *x\n", "demo.yaml:1: "),
    ] {
        let message = message(text);
        assert!(message.starts_with(start) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_matrix_becomes_every_combination() {
    let text =
        format!("{VALID}matrix:\n  stages.gate.lambda: [0.2, 0.4]\n  dataset.records.path: [a, b, c]\n");
    let document = parse(&text, "demo.yaml").unwrap();
    let labels: Vec<_> = document
        .points
        .iter()
        .map(|point| point.settings.iter().map(Setting::to_string).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(labels.len(), 6);
    assert_eq!(labels[1], "dataset.records.path=a gate.lambda=0.4");
    assert_eq!(document.points[1].manifest.stages.gate.lambda, 0.4);
    assert!(document.points.iter().all(|point| point.manifest.matrix.is_empty()));
    let error = document.points[2].error("dataset.records.path", "no such folder").to_string();
    assert_eq!(error, "demo.yaml:20: dataset.records.path: no such folder");
}

#[test]
fn a_matrix_makes_the_mappings_on_its_way() {
    let text =
        "name: a\nbase: {path: b}\ndataset: {records: {path: d}}\nmatrix: {stages.finetune.epochs: [1, 2]}\n";
    let document = parse(text, "demo.yaml").unwrap();
    assert_eq!(document.points[1].manifest.stages.finetune.epochs, 2);
}

#[test]
fn mistakes_in_a_matrix_are_found_before_anything_starts() {
    for (matrix, expected) in [
        (
            "{stages.gate.lamda: [1]}",
            "demo.yaml:18: matrix.stages.gate.lamda: unknown key (nearest: `lambda`)",
        ),
        ("{stages.gat.lambda: [1]}", "demo.yaml:18: matrix.stages.gat: unknown key (nearest: `gate`)"),
        ("{stages.gate.lambda: []}", "demo.yaml:18: matrix.stages.gate.lambda: has no values"),
        ("{stages.gate.lambda: [1, 1]}", "demo.yaml:18: matrix.stages.gate.lambda: the value 1 stands twice"),
        ("{stages.gate.lambda: [a]}", "demo.yaml:18: matrix.stages.gate.lambda: must be a number, is `a`"),
        (
            "{stages.gate.lambda: [0.5, -1]}",
            "demo.yaml:18: matrix.stages.gate.lambda: must be at least 0 and finite, is -1",
        ),
        (
            "{stages.gate.lambda.x: [1]}",
            "demo.yaml:18: matrix.stages.gate.lambda.x: leads through a value that has no fields",
        ),
        ("{stages.gate.lambda: 1}", "demo.yaml:18: matrix.stages.gate.lambda: must be a list, is 1"),
        ("{name: [a, b]}", "demo.yaml:18: matrix.name: cannot be varied"),
    ] {
        assert_eq!(message(&format!("{VALID}matrix: {matrix}\n")), expected);
    }
    let many = (0..40).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let text = format!("{VALID}matrix: {{seed: [{many}], stages.gate.lambda: [{many}]}}\n");
    assert!(message(&text).ends_with("brings the matrix to 1600 points, more than 1000"));
}

#[test]
fn a_matrix_value_that_breaks_another_field_names_its_point() {
    let text = "name: a\nbase: {train: {}}\nmatrix:\n  base.train.heads: [6, 7]\n";
    assert_eq!(
        message(text),
        "demo.yaml:2: base.train.hidden: must be an even multiple of `heads` (7), is 192 (at the matrix' point base.train.heads=7)"
    );
}

#[test]
fn a_key_with_a_line_break_is_named_on_one_line() {
    let error = message(&format!("{VALID}\"stag\\nes\": 1\n"));
    assert_eq!(error, r"demo.yaml:18: stag\nes: unknown key (nearest: `stages`)");
}

proptest! {
    /// Whatever the text, there is no panic and an error is one line that begins with the file.
    #[test]
    fn any_text_gives_one_line(cut in 0..VALID.len(), insert in "[-:{}\\[\\]#&*!|>'\"%@`\n\ta-z0-9. ]{0,12}") {
        let text = format!("{}{insert}{}", &VALID[..cut], &VALID[cut..]);
        if let Err(error) = parse(&text, "demo.yaml") {
            let line = error.to_string();
            prop_assert!(line.starts_with("demo.yaml:") && !line.contains('\n'), "{line}");
        }
    }
}
