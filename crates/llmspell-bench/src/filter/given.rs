//! Filters for metadata that the user provides.
//!
//! For each share the value of a field, and the values of two fields, that as many rows have as comes nearest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use llmspell_storage::Filter;
use serde_json::{Map, Value};

use super::fields::SHARES;
use llmspell_cli_base::errors::CliError;

/// A field with more different strings than this is no category.
const CATEGORIES_MAX: usize = 256;
/// What is farther from a share than this factor does not stand for it.
const OFF_MAX: f64 = 1.6;

/// One field and its value, as numbers.
type Choice = (usize, usize);

/// A filter that was found.
#[derive(Debug)]
struct Chosen {
    share: f64,
    choices: Vec<Choice>,
}

/// Metadata by row, and filters on it.
#[derive(Debug, Default)]
pub(super) struct Given {
    rows: Vec<Map<String, Value>>,
    /// Fields with their values: the categories.
    fields: Vec<(String, Vec<String>)>,
    /// For each field and row, which value; [`CATEGORIES_MAX`] if none.
    values: Vec<Vec<usize>>,
    chosen: Vec<Chosen>,
}

impl Given {
    /// Reads a JSON object per line, one for each of `count` rows.
    pub(super) fn read(path: &Path, count: usize) -> Result<Self, CliError> {
        let file = File::open(path).map_err(|source| CliError::file("open", path, source))?;
        let mut rows = Vec::with_capacity(count);
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|source| CliError::file("read", path, source))?;
            let row = serde_json::from_str(&line).map_err(|error| {
                let message = format!("{}, line {}: {error}", path.display(), rows.len() + 1);
                CliError::usage(message, "write one JSON object per line, one line per row of the base")
            })?;
            rows.push(row);
        }
        if rows.len() != count {
            let message = format!("{} has {} lines, the base has {count} rows", path.display(), rows.len());
            return Err(CliError::usage(message, "name files that were made together"));
        }
        Ok(Self::of(rows))
    }

    fn of(rows: Vec<Map<String, Value>>) -> Self {
        let mut given = Self {
            rows,
            ..Self::default()
        };
        given.categorize();
        given.choose();
        given
    }

    fn categorize(&mut self) {
        let mut known: HashMap<&str, HashMap<&str, usize>> = HashMap::new();
        for row in &self.rows {
            for (field, value) in row {
                if let Value::String(text) = value {
                    let values = known.entry(field).or_default();
                    let next = values.len();
                    if next <= CATEGORIES_MAX {
                        values.entry(text).or_insert(next);
                    }
                }
            }
        }
        known.retain(|_, values| values.len() <= CATEGORIES_MAX);
        let mut fields: Vec<&str> = known.keys().copied().collect();
        fields.sort_unstable();
        for field in fields {
            let numbers = &known[field];
            let of_row = |row: &Map<String, Value>| {
                let number = row.get(field).and_then(Value::as_str).map(|text| numbers[text]);
                number.unwrap_or(CATEGORIES_MAX)
            };
            self.values.push(self.rows.iter().map(of_row).collect());
            let mut names: Vec<String> = vec![String::new(); numbers.len()];
            numbers
                .iter()
                .for_each(|(text, number)| names[*number] = (*text).to_string());
            self.fields.push((field.to_string(), names));
        }
    }

    fn choose(&mut self) {
        let (mut one, mut two): (HashMap<Vec<Choice>, usize>, HashMap<Vec<Choice>, usize>) = Default::default();
        for row in 0..self.rows.len() {
            let has = |field: usize| (field, self.values[field][row]);
            for field in (0..self.fields.len()).filter(|field| has(*field).1 < CATEGORIES_MAX) {
                *one.entry(vec![has(field)]).or_default() += 1;
                for other in (0..field).filter(|other| has(*other).1 < CATEGORIES_MAX) {
                    *two.entry(vec![has(other), has(field)]).or_default() += 1;
                }
            }
        }
        for counts in [one, two] {
            for share in SHARES {
                let off = |count: usize| {
                    let ratio = count as f64 / (share * self.rows.len() as f64);
                    ratio.max(1.0 / ratio)
                };
                let best = counts.iter().min_by(|(a_choice, a), (b_choice, b)| {
                    off(**a).total_cmp(&off(**b)).then_with(|| a_choice.cmp(b_choice))
                });
                if let Some((choices, count)) = best.filter(|(_, count)| off(**count) <= OFF_MAX) {
                    let choices = choices.clone();
                    let share = *count as f64 / self.rows.len() as f64;
                    self.chosen.push(Chosen { share, choices });
                }
            }
        }
    }

    /// The filters: what to call them, the share that passes, and the filter itself.
    pub(super) fn cases(&self) -> impl Iterator<Item = (&'static str, f64, Filter)> + '_ {
        self.chosen.iter().map(|Chosen { share, choices }| {
            let equals = |(field, value): &Choice| {
                let (name, values) = &self.fields[*field];
                Filter::eq(name.as_str(), values[*value].as_str())
            };
            match &choices[..] {
                [only] => ("given field", *share, equals(only)),
                several => ("given fields", *share, Filter::all_of(several.iter().map(equals))),
            }
        })
    }

    /// Which of the filters a row passes, a bit for each.
    pub(super) fn passes(&self, row: usize) -> u64 {
        let passes = |chosen: &Chosen| {
            chosen
                .choices
                .iter()
                .all(|(field, value)| self.values[*field][row] == *value)
        };
        let bits = self.chosen.iter().enumerate();
        bits.fold(0, |mask, (bit, chosen)| mask | u64::from(passes(chosen)) << bit)
    }

    /// The metadata of a row; nothing if nothing was given.
    pub(super) fn of_row(&self, row: usize) -> Map<String, Value> {
        self.rows.get(row).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use llmspell_storage::DateFields;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_chosen_by_how_many_have_them_and_masks_say_who() {
        let row = |number: usize| {
            let (half, tenth) = (number.is_multiple_of(2), number % 10 == 4);
            let row = json!({"half": if half { "yes" } else { "no" }, "tenth": if tenth { "t" } else { "other" },
                "name": number.to_string(), "n": number});
            row.as_object().cloned().unwrap()
        };
        let given = Given::of((0..1_000).map(row).collect());
        let cases: Vec<_> = given.cases().collect();
        let shares =
            |name: &str| -> Vec<f64> { cases.iter().filter(|case| case.0 == name).map(|case| case.1).collect() };
        assert_eq!(
            shares("given field"),
            [0.5, 0.1],
            "no name is a category, and nothing is near to 20 %"
        );
        assert_eq!(shares("given fields"), [0.5, 0.1]);
        for (bit, (name, _, filter)) in cases.iter().enumerate() {
            let filter = filter.compile(&DateFields::none()).unwrap();
            for number in 0..1_000 {
                let passes = given.passes(number) >> bit & 1 == 1;
                assert_eq!(filter.matches(&given.of_row(number)), passes, "{name} {number}");
            }
        }
    }
}
