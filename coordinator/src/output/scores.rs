//! The table that a sweep ends with: variants by categories, in percent.

use proto::v1;

use super::table::{align_right, new};

/// One row a variant, one column a category in the order of first appearance, and the unweighted average where a variant has them all.
pub fn score_table(scores: &[v1::Score]) -> String {
    let variants = distinct(scores.iter().map(|score| score.variant.as_str()));
    let categories = distinct(scores.iter().map(|score| score.category.as_str()));
    let header: Vec<&str> =
        std::iter::once("variant").chain(categories.iter().copied()).chain(["average"]).collect();
    let mut table = new(&header);
    for variant in variants {
        let accuracies: Vec<Option<f64>> = categories
            .iter()
            .map(|category| {
                scores
                    .iter()
                    .find(|score| score.variant == variant && score.category == *category)
                    .filter(|score| score.total > 0)
                    .map(|score| 100.0 * score.correct as f64 / score.total as f64)
            })
            .collect();
        let average = accuracies
            .iter()
            .copied()
            .collect::<Option<Vec<f64>>>()
            .map(|all| all.iter().sum::<f64>() / all.len().max(1) as f64);
        let shown = accuracies.into_iter().chain([average]);
        let cells = shown.map(|accuracy| accuracy.map_or("–".to_owned(), |value| format!("{value:.1}")));
        table.add_row(std::iter::once(variant.to_owned()).chain(cells));
    }
    align_right(&mut table, 1..header.len());
    table.to_string()
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_a_row_and_a_gap_has_no_average() {
        let score = |variant: &str, category: &str, correct| v1::Score {
            variant: variant.to_owned(),
            category: category.to_owned(),
            correct,
            total: 8,
        };
        let table = score_table(&[
            score("base", "multiple", 0),
            score("base", "parallel", 1),
            score("soft", "multiple", 8),
        ]);
        let rows: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(rows.contains(&"variant multiple parallel average".to_owned()), "{rows:?}");
        assert!(rows.contains(&"base 0.0 12.5 6.2".to_owned()), "{rows:?}");
        assert!(rows.contains(&"soft 100.0 – –".to_owned()), "{rows:?}");
    }
}
