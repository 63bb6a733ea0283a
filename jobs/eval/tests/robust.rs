//! No text makes the decoder panic, overflow the stack or run long.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::time::{Duration, Instant};

use jobs_eval::bfcl::{decode, render_calls};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Far above what any of these texts takes, far below what a cost without bound would.
const LONG: Duration = Duration::from_secs(5);

/// Decodes on a thread with a small stack.
fn decodes(text: String) -> bool {
    let start = Instant::now();
    let decoded = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || decode(&text).is_ok())
        .unwrap()
        .join()
        .unwrap();
    assert!(start.elapsed() < LONG);
    decoded
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("[f(a={}1{})]", "[".repeat(depth), "]".repeat(depth));
    assert!(decodes(nested(198)));
    assert!(decodes(format!("[f(a={}1{})]", "(0 + ".repeat(198), ")".repeat(198))));
    for depth in [199, 100_000] {
        assert!(!decodes(nested(depth)));
    }
    let openers = [
        "[",
        "(",
        "{",
        "f(",
        "f(a=",
        "x[",
        "- ",
        "not ",
        "~",
        "lambda: ",
        "1 if 1 else ",
        "2**",
        "a:=",
        "*",
        "await ",
        "{1: ",
        "[x for x in ",
        "f'{",
        "(yield ",
        "1 or not 1 < 1 | 1 ^ 1 & 1 << 1 + 1 * -(",
        "x.y(1)(a=",
    ];
    for opener in openers {
        let deep = opener.repeat(100_000);
        assert!(!decodes(format!("[f(a={deep}")), "{opener}");
        assert!(!decodes(format!("[f({deep}1, a=1)]")), "{opener}");
    }
}

#[test]
fn every_level_of_the_grammar_fits_the_stack_together() {
    for depth in [10, 45, 46, 60, 66, 90, 120, 198] {
        let open = "1 or 1 and not 1 < 1 | 1 ^ 1 & 1 << 1 + 1 * -2 ** (".repeat(depth);
        decodes(format!("[f({open}1{}, a=1)]", ")".repeat(depth)));
        decodes(format!("[f(a=g({open}1{}))]", ")".repeat(depth)));
        let open = "1 | 1 ^ 1 & 1 << 1 + 1 * [".repeat(depth);
        decodes(format!("[f(a={open}1{})]", "]".repeat(depth)));
        let open = "f(a=[{'k': (".repeat(depth);
        decodes(format!("[f(a={open}1{})]", ")}])".repeat(depth)));
        let open = "x[lambda: (y if -1 else not ".repeat(depth);
        decodes(format!("[f(a={open}1{})]", ")]".repeat(depth)));
    }
}

#[test]
fn long_flat_text_is_read_in_time() {
    let long = |piece: &str| format!("[f(a=1{})]", piece.repeat(100_000));
    assert!(decodes(long(" + 1")));
    assert!(decodes(long(", a=1")));
    assert!(decodes(format!("[f(a=x{}[0])]", ".y".repeat(100_000))));
    assert!(decodes(format!("[f(a=[1{}])]", ", 1".repeat(100_000))));
    assert!(decodes(format!("[{}]", "f(),".repeat(100_000))));
    assert!(decodes(format!("[f(a={{{}}})]", (0..100_000).map(|i| format!("{i}: 1,")).collect::<String>())));
    for piece in [" < 1", " and 1", " 'a'", ".x", "e", "0", "_", "(", "#", "\\", "'\\N{", "\u{e9}"] {
        decodes(long(piece));
    }
}

#[test]
fn costly_expressions_fail() {
    let costly = [
        "10**10**10",
        "1 << 10**12",
        "'a' * 10**12",
        "[[0] * 9999] * 9999 * 9999",
        "'%1000000000d' % 1",
        "'%.*f' % (2**40, 1)",
        "2**99999 ** 9",
        "(1,) * 2**63",
        "'a' * -1 * 2**70",
        "1 << -1",
        "9**9**9 % 7",
    ];
    for text in costly {
        assert!(!decodes(format!("[f(a={text})]")), "{text}");
    }
    decodes(format!("[f(a=3{})]", " ** 40".repeat(1000)));
    decodes(format!("[f(a=3{})]", " * 99999999999999999999".repeat(20_000)));
    decodes(format!("[f(a='a'{})]", " * 9".repeat(1000)));
    decodes(format!("[f(a='a'{})]", " + 'aaaaaaaa'".repeat(20_000)));
    decodes(format!("[f(a={})]", "'%s%s' % (".repeat(150)));
}

/// A valid list of calls that uses most of the grammar.
const VALID: &str = "[a.b(x=1, y='it\\'s', z=[1.5, -2, {'k': (True, None)}]), f(s=\"q\" 'r', t=g(1, u), \
    w=2 + 3 * 4, v=h(k=b'\\x00'), e=d['i'][0:1], p='%s-%d' % ('a', 7)), ｇ(n=0x1F, m=1e-3, **kw)]";

fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(
        (any::<prop::sample::Index>(), 0usize..12, "\\PC{0,3}|[\\[\\](){}'\"\\\\,:=*%#\n ]{0,4}"),
        1..6,
    );
    pieces.prop_map(|edits| {
        let mut chars: Vec<char> = VALID.chars().collect();
        for (index, length, insert) in edits {
            let start = index.index(chars.len() + 1);
            let end = (start + length).min(chars.len());
            chars.splice(start..end, insert.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_decoded_or_refused(text in "\\PC{0,80}") {
        let _ = decode(&text);
    }

    #[test]
    fn any_python_like_text_is_decoded_or_refused(text in "[\\[\\](){}a-f0-9_.,:=+*/%'\"\\\\ \n#!xj-]{0,80}") {
        let _ = decode(&text);
    }

    #[test]
    fn mutations_of_a_valid_call_are_decoded_the_same_again_when_rendered(text in mutated()) {
        if let Ok(calls) = decode(&text) {
            prop_assert_eq!(decode(&text), Ok(calls.clone()));
            let rendered = render_calls(&calls);
            if let Ok(again) = decode(&rendered) {
                prop_assert_eq!(render_calls(&again), rendered);
            }
        }
    }
}

#[test]
fn the_sample_is_valid() {
    let calls = decode(VALID).unwrap();
    let expected = "[a.b(x=1, y=\"it's\", z=[1.5, -2, {'k': (True, None)}]), f(s='qr', t='g(1, u)', w=14, \
        v={'h': {'k': b'\\x00'}}, e=\"d['i'][0:1]\", p='a-7'), g(n=31, m=0.001, **'kw')]";
    assert_eq!(render_calls(&calls), expected);
}
