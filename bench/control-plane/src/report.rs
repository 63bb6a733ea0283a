//! Figures, the goals that they are held against, and how they are shown.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::latency::Latencies;

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// The database it was measured over.
    pub(crate) database: String,
    /// Jobs in the table.
    pub(crate) table: u64,
    /// What was measured.
    pub(crate) what: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// What it is to reach, where that is said anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
    /// Whether it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) holds: Option<bool>,
}

/// The figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    date: String,
    cores: usize,
    quick: bool,
    figures: Vec<Figure>,
}

/// Where figures of one table go.
pub(crate) struct Sheet<'a> {
    report: &'a mut Report,
    database: String,
    table: u64,
}

impl Report {
    /// Without figures.
    pub(crate) fn new(date: String, quick: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { date, cores, quick, figures: Vec::new() }
    }

    /// Where figures over one table go.
    pub(crate) fn sheet(&mut self, database: &str, table: u64) -> Sheet<'_> {
        Sheet { report: self, database: database.to_owned(), table }
    }

    /// As a table for people.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
        table.set_header(["database", "jobs", "figure", "value", "unit", "goal", ""]);
        for figure in &self.figures {
            let goal = match figure.goal {
                None => String::new(),
                Some(Goal::AtMost(limit)) => format!("≤ {limit}"),
                Some(Goal::AtLeast(limit)) => format!("≥ {limit}"),
            };
            let verdict = figure.holds.map_or("", |holds| if holds { "holds" } else { "MISSED" });
            table.add_row([
                figure.database.clone(),
                figure.table.to_string(),
                figure.what.clone(),
                shown(figure.value),
                figure.unit.to_owned(),
                goal,
                verdict.to_owned(),
            ]);
        }
        for column in [1, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    /// Writes JSON to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        fs::write(path, json + "\n").with_context(|| format!("{}: cannot be written", path.display()))
    }
}

impl Sheet<'_> {
    /// Notes a figure.
    pub(crate) fn note(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.add(what.into(), value, unit, None);
    }

    /// Notes a figure that has a goal.
    pub(crate) fn hold(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        self.add(what.into(), value, unit, Some(goal));
    }

    /// Notes how long calls took, the 99th percentile with a goal if there is one.
    pub(crate) fn latencies(&mut self, what: &str, calls: &Latencies, p99: Option<Goal>) {
        self.note(format!("{what}, p50"), calls.quantile_ms(0.5), "ms");
        self.add(format!("{what}, p99"), calls.quantile_ms(0.99), "ms", p99);
    }

    fn add(&mut self, what: String, value: f64, unit: &'static str, goal: Option<Goal>) {
        let holds = goal.map(|goal| goal.holds(value));
        let Self { database, table, .. } = self;
        crate::tell(&format!("{database}, {table} jobs: {what}: {} {unit}", shown(value)));
        self.report.figures.push(Figure {
            database: database.clone(),
            table: *table,
            what,
            value,
            unit,
            goal,
            holds,
        });
    }
}

/// A value with three digits that mean something.
fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_beyond_its_goal_is_marked() {
        let mut report = Report::new("today".into(), true);
        let mut sheet = report.sheet("sqlite", 7);
        sheet.hold("wait", 101.0, "ms", Goal::AtMost(100.0));
        sheet.hold("rate", 1.5, "×", Goal::AtLeast(1.5));
        sheet.note("size", 12.34, "MiB");
        let table = report.table();
        let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
        assert!(row("wait").contains("MISSED") && row("wait").contains("≤ 100"), "{table}");
        assert!(row("rate").contains("holds") && row("size").contains("12.3"), "{table}");
    }
}
