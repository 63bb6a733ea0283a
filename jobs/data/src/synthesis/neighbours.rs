//! Which tools look alike: Jaccard similarity of the words in their schemas.

use std::collections::HashMap;

use jobs_spec::key::canonical;

use crate::tool::Tool;

/// For each tool the indices of the `count` most similar ones, nearest first, ties in order; never one of the same name.
///
/// Shared words are counted over an index from word to tools, so thousands of tools take well under a second.
pub fn neighbours(tools: &[&Tool], count: usize) -> Vec<Vec<usize>> {
    let mut ids = HashMap::new();
    let sets: Vec<Vec<usize>> = tools.iter().map(|tool| word_set(tool, &mut ids)).collect();
    let mut holders = vec![Vec::new(); ids.len()];
    for (tool, set) in sets.iter().enumerate() {
        for &word in set {
            holders[word].push(tool);
        }
    }
    let mut shared = vec![0_usize; tools.len()];
    let mut nearest = Vec::with_capacity(tools.len());
    for (tool, set) in sets.iter().enumerate() {
        shared.fill(0);
        for other in set.iter().flat_map(|&word| &holders[word]) {
            shared[*other] += 1;
        }
        let mut ranked: Vec<(f64, usize)> = (0..tools.len())
            .filter(|&other| tools[other].name != tools[tool].name)
            .map(|other| {
                let union = set.len() + sets[other].len() - shared[other];
                (shared[other] as f64 / union.max(1) as f64, other)
            })
            .collect();
        let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if count > 0 && ranked.len() > count {
            ranked.select_nth_unstable_by(count - 1, order);
        }
        ranked.truncate(count);
        ranked.sort_by(order);
        nearest.push(ranked.into_iter().map(|(_, other)| other).collect());
    }
    nearest
}

/// The distinct words of a schema as ids.
fn word_set(tool: &Tool, ids: &mut HashMap<String, usize>) -> Vec<usize> {
    let text = canonical(&tool.schema).to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut set = Vec::new();
    for word in words {
        let next = ids.len();
        set.push(*ids.entry(word.to_owned()).or_insert(next));
    }
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_most_alike_come_first_and_namesakes_never() {
        let tool = |name: &str, description: &str| {
            Tool::new(json!({"name": name, "description": description, "parameters": {}})).unwrap()
        };
        let tools = [
            tool("area", "area of a triangle"),
            tool("weather", "forecast for tomorrow"),
            tool("volume", "volume of a cone"),
            tool("area", "area of a square"),
            tool("surface", "surface area of a triangle"),
        ];
        let near = neighbours(&tools.iter().collect::<Vec<_>>(), 2);
        assert_eq!(near[0], [4, 2]);
        assert!(near[1].len() == 2 && !near[1].contains(&1));
        assert!(!near[3].contains(&0));
    }
}
