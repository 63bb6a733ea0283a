//! Holds a manual's tables of settings and figures against what they describe; the tests of both daemons use it.

use std::collections::BTreeSet;
use std::fmt;

use figment::providers::Serialized;
use figment::value::Value;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::config;

/// What is wrong with the section of a manual (Markdown) whose heading is `## heading`: settings without a row that begins
/// `` | `key` | default | ``, and rows of no setting. Where the default is no text or whole number, the manual says it in its own words.
pub fn mistakes(manual: &str, heading: &str, defaults: impl Serialize) -> Vec<String> {
    let section = section(manual, heading);
    let settings = config::read(&Serialized::defaults(defaults), "defaults");
    let (Some(section), Ok(settings)) = (section, settings) else {
        return vec![format!("there is no section `{heading}`, or its settings are no mapping")];
    };
    let rows: Vec<(&str, &str)> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(key, rest)| Some((key, rest.split_once(" |")?.0)))
        .collect();
    let strangers = rows.iter().filter(|(key, _)| !settings.contains_key(*key));
    let strangers = strangers.map(|(key, _)| format!("`{key}` is no setting"));
    let wrong = settings.iter().filter_map(|(key, value)| {
        let default = match value {
            Value::String(_, text) => Some(text.clone()),
            Value::Num(_, number) => number.to_u128().map(|number| number.to_string()),
            _ => None,
        };
        let is_right =
            |(row, shown): &(&str, &str)| row == key && default.as_ref().is_none_or(|d| d == shown);
        let right = rows.iter().filter(|row| is_right(row)).count();
        (right != 1).then(|| format!("`{key}` needs one row, with its default {value:?}"))
    });
    wrong.chain(strangers).collect()
}

/// What is wrong with the section of a manual whose heading is `## heading`: figures of a registry without a row that begins
/// `` | `name` | type | `label` | ``, and rows of no figure. Figures with labels must have been moved: else they have nothing to show.
///
/// # Errors
/// When the registry cannot be written.
pub fn wrong_figures(manual: &str, heading: &str, registry: &Registry) -> Result<Vec<String>, fmt::Error> {
    let (told, shown) = (rows(section(manual, heading).unwrap_or_default()), shown(registry)?);
    let missing = shown.difference(&told).map(|figure| format!("a figure without a row: {figure:?}"));
    let strangers = told.difference(&shown).map(|row| format!("a row of no figure: {row:?}"));
    Ok(missing.chain(strangers).collect())
}

/// Words of a text that begin with `prefix` and are neither figures of a manual nor parts of its histograms.
pub fn unknown_figures(text: &str, prefix: &str, manual: &str) -> Vec<String> {
    let names = rows(manual).into_iter().map(|[name, ..]| name);
    let known: BTreeSet<_> = names
        .flat_map(|name| ["", "_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")))
        .collect();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(prefix) && !known.contains(*word)).map(str::to_owned).collect()
}

fn section<'a>(manual: &'a str, heading: &str) -> Option<&'a str> {
    manual.split("\n## ").find(|section| section.lines().next() == Some(heading))
}

/// Name, type and label of each figure in the tables of a text.
fn rows(text: &str) -> BTreeSet<[String; 3]> {
    let row = |line: &str| {
        let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).skip(1);
        let row = [cells.next()?, cells.next()?, cells.next()?];
        ["gauge", "counter", "histogram"].contains(&&*row[1]).then_some(row)
    };
    text.lines().filter_map(row).collect()
}

/// The same of a registry.
fn shown(registry: &Registry) -> Result<BTreeSet<[String; 3]>, fmt::Error> {
    let mut text = String::new();
    prometheus_text::encode(&mut text, registry)?;
    let label = |name: &str| {
        let sample = text.lines().find_map(|line| {
            let line = line.strip_prefix(name)?;
            line.strip_prefix("_sum").unwrap_or(line).strip_prefix('{')
        });
        sample.and_then(|labels| labels.split_once('=')).map_or("", |(label, _)| label).to_owned()
    };
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    Ok(types.map(|(name, kind)| [name.to_owned(), kind.to_owned(), label(name)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Figures;

    #[derive(Serialize)]
    struct Settings {
        wait: &'static str,
        tries: u32,
        name: Option<&'static str>,
    }

    #[test]
    fn every_setting_needs_its_row_and_default() {
        let settings = || Settings { wait: "30s", tries: 3, name: None };
        let manual = "# M\n\n## A\n\n| `wait` | 30s | x |\n| `tries` | 3 | x |\n| `name` | the host | x |\n\n## B\n\n| `c` | 1 | x |\n";
        assert_eq!(mistakes(manual, "A", settings()), Vec::<String>::new());
        for (from, to, key) in [
            ("| `wait` | 30s |", "| `wait` | 30 |", "wait"),
            ("| `tries` | 3 | x |\n", "", "tries"),
            ("| `name` |", "| `named` |", "name"),
        ] {
            let mistakes = mistakes(&manual.replace(from, to), "A", settings());
            assert!(mistakes[0].starts_with(&format!("`{key}` needs one row")), "{mistakes:?}");
        }
        assert_eq!(mistakes("## A\n", "C", settings()).len(), 1);
    }

    #[test]
    fn every_figure_needs_its_row_and_every_name_its_figure() {
        let mut figures = Figures::new("q", "1");
        figures.counters("calls", "x").get_or_create(&[("how", "well")]).inc();
        figures.histograms("call_seconds", "x").get_or_create(&[("how", "well")]).observe(1.0);
        figures.gauge("jobs", "x").set(1);
        let registry = figures.done();
        let manual = "# M\n\n## A\n\n| `q_build_info` | gauge | `version` | x |\n| `q_calls_total` | counter | `how` | x |\n\
            | `q_call_seconds` | histogram | `how` | x |\n| `q_jobs` | gauge | | x |\n\n## B\n\n| `q_more` | gauge | | x |\n";
        assert_eq!(wrong_figures(manual, "A", &registry).unwrap(), Vec::<String>::new());
        for (from, to) in [("`q_jobs` | gauge", "`q_jobs` | counter"), ("counter | `how`", "counter | `why`")]
        {
            assert_eq!(wrong_figures(&manual.replace(from, to), "A", &registry).unwrap().len(), 2, "{from}");
        }
        assert_eq!(wrong_figures(manual, "C", &registry).unwrap().len(), 4);
        let rules = "rate(q_call_seconds_bucket[5m]) + q_more > q_calls";
        assert_eq!(unknown_figures(rules, "q_", manual), ["q_calls"]);
    }

    #[test]
    fn rules_and_texts_of_the_manuals_name_figures_that_exist() {
        let manual = include_str!("../../../docs/metrics.md");
        for text in [manual, include_str!("../../../docs/operations.md")] {
            assert_eq!(unknown_figures(text, "quiver_", manual), Vec::<String>::new());
        }
    }
}
