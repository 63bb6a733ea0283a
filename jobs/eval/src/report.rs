//! Result tables: variants as rows, categories as columns, with the unweighted average behind.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::bfcl::Category;
use crate::score::{Summary, Tally};

/// One cell: a variant's outcome in a category.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// what was evaluated, e.g. `gate+finetuned`
    pub variant: String,
    /// the category
    pub category: Category,
    /// outputs judged right
    pub correct: u64,
    /// outputs judged
    pub total: u64,
    /// right over judged, 0 to 1; `None` when nothing was judged
    pub accuracy: Option<f64>,
}

/// Outcomes of several variants.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Report {
    /// cells in the order in which they were added; variants keep it in the table
    pub rows: Vec<Row>,
}

impl Report {
    /// Adds a variant's outcome in every category of its summary.
    pub fn add(&mut self, variant: &str, summary: &Summary) {
        for (&category, &tally) in &summary.categories {
            let Tally { correct, total } = tally;
            let accuracy = tally.accuracy();
            self.rows.push(Row { variant: variant.to_owned(), category, correct, total, accuracy });
        }
    }

    /// The rows as one JSON list.
    ///
    /// # Errors
    /// None that plain rows can cause; kept for the serialiser's sake.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// A Markdown table of percentages with aligned columns; a cell without outputs holds a dash.
    ///
    /// The average is that of [`Summary::unweighted`], over the categories that the variant has.
    pub fn to_table(&self) -> String {
        let columns: Vec<Category> =
            Category::ALL.into_iter().filter(|c| self.rows.iter().any(|r| r.category == *c)).collect();
        let mut variants: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !variants.contains(&row.variant.as_str()) {
                variants.push(&row.variant);
            }
        }
        let header = columns.iter().map(|c| c.name().to_owned());
        let mut lines =
            vec![["variant".to_owned()].into_iter().chain(header).chain(["average".to_owned()]).collect()];
        for variant in variants {
            let mut tallies: BTreeMap<Category, Tally> = BTreeMap::new();
            for row in self.rows.iter().filter(|row| row.variant == variant) {
                let tally = tallies.entry(row.category).or_default();
                tally.correct += row.correct;
                tally.total += row.total;
            }
            let summary = Summary::new(tallies);
            let cell =
                |category| percent(summary.categories.get(category).and_then(|tally| tally.accuracy()));
            let mut line = vec![variant.to_owned()];
            line.extend(columns.iter().map(cell));
            line.push(percent(summary.unweighted));
            lines.push(line);
        }
        aligned(&lines)
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2}", share * 100.0))
}

/// Cells as a Markdown table: the first column to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let cells = |column: usize| lines.iter().filter_map(move |line| line.get(column));
    let widths: Vec<usize> =
        (0..columns).map(|column| cells(column).map(|c| c.chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for (row, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            // Writing to a String cannot fail.
            let _ =
                if column == 0 { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
        }
        out.push_str("|\n");
        if row == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                let _ = if column == 0 { write!(out, "|{dashes}-") } else { write!(out, "|{dashes}:") };
            }
            out.push_str("|\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(cells: &[(Category, u64, u64)]) -> Summary {
        Summary::new(cells.iter().map(|&(c, correct, total)| (c, Tally { correct, total })).collect())
    }

    #[test]
    fn table_has_variants_as_rows_and_the_plain_mean_behind() {
        let mut report = Report::default();
        report.add("gate", &summary(&[(Category::Parallel, 1, 2), (Category::Multiple, 1, 1)]));
        report.add("uniform, top-1", &summary(&[(Category::Multiple, 0, 3)]));
        let expected = "\
| variant        | multiple | parallel | average |
|----------------|---------:|---------:|--------:|
| gate           |   100.00 |    50.00 |   75.00 |
| uniform, top-1 |     0.00 |        - |    0.00 |
";
        assert_eq!(report.to_table(), expected);
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        let first = r#"{"variant":"gate","category":"multiple","correct":1,"total":1,"accuracy":1.0}"#;
        assert_eq!(json[0].to_string(), first);
    }
}
