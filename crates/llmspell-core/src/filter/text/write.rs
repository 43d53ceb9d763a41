//! Writing of the text form.

use std::fmt::{self, Write};

use super::strings::write_quoted;
use super::words::{is_key_character, is_key_start, is_reserved};
use crate::filter::condition::Filter;
use crate::filter::path::FieldPath;

/// A stack of pieces to write, the next one last: a loop, so that deep nesting needs no deep stack.
enum Piece<'a> {
    Text(&'static str),
    Whole(&'a Filter),
    /// In parentheses if it joins conditions by one of these operators.
    Part(&'a Filter, Joins),
}

#[derive(Clone, Copy, PartialEq)]
enum Joins {
    AndOr,
    Or,
}

impl fmt::Display for Filter {
    /// The text form. A valid filter reads back as it was, except that `and` and `or` of one condition become that
    /// condition; the text of an invalid filter is only for people to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = vec![Piece::Whole(self)];
        while let Some(piece) = rest.pop() {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Part(filter @ Filter::Or(_), _) | Piece::Part(filter @ Filter::And(_), Joins::AndOr) => {
                    f.write_char('(')?;
                    rest.extend([Piece::Text(")"), Piece::Whole(filter)]);
                }
                Piece::Whole(filter) | Piece::Part(filter, _) => match filter {
                    Filter::And(conditions) => join(conditions, " and ", Joins::AndOr, &mut rest),
                    Filter::Or(conditions) => join(conditions, " or ", Joins::Or, &mut rest),
                    Filter::Not(condition) => {
                        f.write_str("not ")?;
                        rest.push(Piece::Part(condition, Joins::AndOr));
                    }
                    comparison => write_comparison(f, comparison)?,
                },
            }
        }
        Ok(())
    }
}

fn join<'a>(conditions: &'a [Filter], by: &'static str, joins: Joins, rest: &mut Vec<Piece<'a>>) {
    if conditions.is_empty() {
        rest.push(Piece::Text("()"));
    }
    for (place, condition) in conditions.iter().enumerate().rev() {
        rest.push(Piece::Part(condition, joins));
        if place > 0 {
            rest.push(Piece::Text(by));
        }
    }
}

fn write_comparison(f: &mut fmt::Formatter<'_>, filter: &Filter) -> fmt::Result {
    match filter {
        Filter::All => f.write_str("true"),
        Filter::Eq { field, value } => write!(f, "{} = {value}", Field(field)),
        Filter::Ne { field, value } => write!(f, "{} != {value}", Field(field)),
        Filter::Lt { field, value } => write!(f, "{} < {value}", Field(field)),
        Filter::Le { field, value } => write!(f, "{} <= {value}", Field(field)),
        Filter::Gt { field, value } => write!(f, "{} > {value}", Field(field)),
        Filter::Ge { field, value } => write!(f, "{} >= {value}", Field(field)),
        Filter::Between { field, low, high } => write!(f, "{} between {low} and {high}", Field(field)),
        Filter::Exists { field } => write!(f, "exists {}", Field(field)),
        Filter::IsNull { field } => write!(f, "{} is null", Field(field)),
        Filter::Contains { field, value } => write!(f, "{} contains {value}", Field(field)),
        Filter::StartsWith { field, prefix } => {
            write!(f, "{} starts with ", Field(field))?;
            write_quoted(f, prefix)
        }
        Filter::MatchesText { field, text } => {
            write!(f, "{} matches ", Field(field))?;
            write_quoted(f, text)
        }
        Filter::In { field, values } => {
            write!(f, "{} in [", Field(field))?;
            for (place, value) in values.iter().enumerate() {
                write!(f, "{}{value}", if place > 0 { ", " } else { "" })?;
            }
            f.write_char(']')
        }
        Filter::And(_) | Filter::Or(_) | Filter::Not(_) => unreachable!("these are written piece by piece"),
    }
}

/// A path in the text form: more keys are quoted than in [`FieldPath`]'s own text.
struct Field<'a>(&'a FieldPath);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.own_time().is_some() {
            return write!(f, "{}", self.0);
        }
        if self.0.keys().is_empty() {
            return write_quoted(f, &self.0.to_string());
        }
        for (place, key) in self.0.keys().iter().enumerate() {
            let is_first = place == 0;
            if !is_first {
                f.write_char('.')?;
            }
            let is_plain = !key.is_empty()
                && key.chars().all(is_key_character)
                && !(is_first && (is_reserved(key) || !key.starts_with(is_key_start)));
            if is_plain {
                f.write_str(key)?;
            } else {
                write_quoted(f, key)?;
            }
        }
        Ok(())
    }
}
