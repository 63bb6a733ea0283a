//! Holds a manual's table of settings against the type that it describes; the tests of both daemons use it.

use figment::providers::Serialized;
use figment::value::Value;
use serde::Serialize;

use crate::config;

/// What is wrong with the section of a manual (Markdown) whose heading is `## heading`: settings without a row that begins
/// `` | `key` | default | ``, and rows of no setting. Where the default is no text or whole number, the manual says it in its own words.
pub fn mistakes(manual: &str, heading: &str, defaults: impl Serialize) -> Vec<String> {
    let section = manual.split("\n## ").find(|section| section.lines().next() == Some(heading));
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
