//! The parser of the text form.
//!
//! One function per line of the grammar in the [module](crate::filter). Each gets the number of parentheses and `not`s
//! around it, which bounds the recursion, and returns the depth of the condition it read.

use std::str::FromStr;

use super::words::{Bad, Result, Words};
use crate::filter::check::{self, Budget, Part};
use crate::filter::condition::Filter;
use crate::filter::dates::DateFields;
use crate::filter::error::{FilterError, FilterPlace};
use crate::filter::path::FieldPath;
use crate::filter::scalar::Scalar;

impl Filter {
    /// Reads the text form, such as `section = "devel" and size > 100`; the [module](crate::filter) has its grammar.
    ///
    /// `dates` are the only fields whose strings are dates. Takes time in proportion to the text.
    ///
    /// # Errors
    ///
    /// The first problem, with its column.
    pub fn parse(text: &str, dates: &DateFields) -> Result<Self, FilterError> {
        read(text, Some(dates))
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    /// Reads the text form as [`parse`](Self::parse) does. Checks that depend on the date fields are left to
    /// [`compile`](Self::compile).
    fn from_str(text: &str) -> Result<Self, FilterError> {
        read(text, None)
    }
}

fn read(text: &str, dates: Option<&DateFields>) -> Result<Filter, FilterError> {
    let mut reader = Reader {
        words: Words::new(text),
        budget: Budget::default(),
        dates,
    };
    let column = |at: usize| FilterPlace::Column(text[..at].chars().count() + 1);
    reader
        .whole()
        .map_err(|bad| FilterError::new(column(bad.at), bad.problem))
}

struct Read {
    filter: Filter,
    depth: usize,
}

struct Reader<'a> {
    words: Words<'a>,
    budget: Budget,
    dates: Option<&'a DateFields>,
}

impl Reader<'_> {
    fn whole(&mut self) -> Result<Filter> {
        let read = self.any(0)?;
        self.words.skip_spaces();
        if self.words.rest().is_empty() {
            return Ok(read.filter);
        }
        let help = match self.words.rest().as_bytes()[0] {
            b')' => "there is no `(` for it".to_string(),
            b'&' => "write `and` or `&&`".to_string(),
            b'|' => "write `or` or `||`".to_string(),
            _ => String::new(),
        };
        Err(self.words.expected_with("`and`, `or` or the end", help))
    }

    fn any(&mut self, level: usize) -> Result<Read> {
        self.joined(["or", "||"], Self::all, Filter::any_of, level)
    }

    fn all(&mut self, level: usize) -> Result<Read> {
        self.joined(["and", "&&"], Self::one, Filter::all_of, level)
    }

    fn joined(
        &mut self,
        by: [&str; 2],
        read: fn(&mut Self, usize) -> Result<Read>,
        join: fn(Vec<Filter>) -> Filter,
        level: usize,
    ) -> Result<Read> {
        self.words.skip_spaces();
        let start = self.words.at;
        let first = read(self, level)?;
        if !self.words.takes_either(by) {
            return Ok(first);
        }
        let mut depth = first.depth;
        let mut conditions = vec![first.filter];
        loop {
            let next = read(self, level)?;
            depth = depth.max(next.depth);
            conditions.push(next.filter);
            if !self.words.takes_either(by) {
                break;
            }
        }
        self.read(join(conditions), depth + 1, start)
    }

    fn one(&mut self, level: usize) -> Result<Read> {
        check::depth_at_most(level + 1).map_err(|problem| Bad {
            at: self.words.at,
            problem,
        })?;
        self.words.skip_spaces();
        let start = self.words.at;
        if self.words.takes_either(["not", "!"]) {
            let inner = self.one(level + 1)?;
            return self.read(Filter::not(inner.filter), inner.depth + 1, start);
        }
        if self.words.takes("(") {
            let inner = self.any(level + 1)?;
            if !self.words.takes(")") {
                return Err(self.words.expected("`and`, `or` or `)`"));
            }
            return Ok(inner);
        }
        if self.words.takes_word("true") {
            return self.read(Filter::All, 1, start);
        }
        if self.words.takes_word("exists") {
            let (field, at) = self.words.field()?;
            return self.comparison(Filter::Exists { field }, start, |_| at);
        }
        let (field, at) = self.words.field()?;
        self.compared(field, at)
    }

    /// The rest of a comparison whose field stood at `start`.
    fn compared(&mut self, field: FieldPath, start: usize) -> Result<Read> {
        self.words.skip_spaces();
        if let Some(help) = self.words.foreign_symbol() {
            return Err(self.words.expected_with(OPERATORS, help));
        }
        for (symbol, make) in SYMBOLS {
            if self.words.takes(symbol) {
                let (value, at) = self.words.value()?;
                return self.comparison(make(field, value), start, part_at(start, at));
            }
        }
        if self.words.takes_word("contains") {
            let (value, at) = self.words.value()?;
            return self.comparison(Filter::contains(field, value), start, part_at(start, at));
        }
        if self.words.takes_word("starts") {
            self.words.word("with")?;
            let (prefix, at) = self.words.string()?;
            return self.comparison(Filter::StartsWith { field, prefix }, start, part_at(start, at));
        }
        if self.words.takes_word("matches") {
            let (text, at) = self.words.string()?;
            return self.comparison(Filter::MatchesText { field, text }, start, part_at(start, at));
        }
        if self.words.takes_word("is") {
            if self.words.is_at_word("not") {
                let help =
                    "`exists a and a != null` asks for a value, `not a is null` finds entries without the field too";
                return Err(self.words.expected_with("`null`", help.to_string()));
            }
            self.words.word("null")?;
            return self.comparison(Filter::IsNull { field }, start, |_| start);
        }
        if self.words.takes_word("between") {
            let (low, low_at) = self.words.value()?;
            self.words.word("and")?;
            let (high, high_at) = self.words.value()?;
            let place = |part| match part {
                Part::Low => low_at,
                Part::High => high_at,
                _ => start,
            };
            return self.comparison(Filter::Between { field, low, high }, start, place);
        }
        if self.words.takes_word("not") {
            self.words.word("in")?;
            let inner = self.listed(field, start)?;
            return self.read(Filter::not(inner.filter), inner.depth + 1, start);
        }
        if self.words.takes_word("in") {
            return self.listed(field, start);
        }
        Err(self.words.expected_with(OPERATORS, self.words.help_for_operator()))
    }

    /// The list of an `in`.
    fn listed(&mut self, field: FieldPath, start: usize) -> Result<Read> {
        let close = match () {
            () if self.words.takes("[") => "]",
            () if self.words.takes("(") => ")",
            () => return Err(self.words.expected("a list such as [\"a\", \"b\"]")),
        };
        let (mut values, mut places) = (Vec::new(), Vec::new());
        if !self.words.takes(close) {
            loop {
                self.words.skip_spaces();
                self.budget.values(1).map_err(|problem| Bad {
                    at: self.words.at,
                    problem,
                })?;
                let (value, at) = self.words.value()?;
                values.push(value);
                places.push(at);
                if self.words.takes(close) {
                    break;
                }
                if !self.words.takes(",") {
                    let expected = if close == "]" { "`,` or `]`" } else { "`,` or `)`" };
                    return Err(self.words.expected(expected));
                }
            }
        }
        let place = |part| match part {
            Part::ValueOf(index) => places[index],
            _ => start,
        };
        self.comparison(Filter::In { field, values }, start, place)
    }

    /// Checks a comparison; `place` gives the position of each part.
    fn comparison(&mut self, filter: Filter, start: usize, place: impl Fn(Part) -> usize) -> Result<Read> {
        check::comparison(&filter, self.dates).map_err(|(part, problem)| Bad {
            at: place(part),
            problem,
        })?;
        self.read(filter, 1, start)
    }

    fn read(&mut self, filter: Filter, depth: usize, start: usize) -> Result<Read> {
        self.budget.node(depth).map_err(|problem| Bad { at: start, problem })?;
        Ok(Read { filter, depth })
    }
}

/// Longer ones first.
const SYMBOLS: [(&str, Compares); 7] = [
    ("==", Filter::eq),
    ("!=", Filter::ne),
    ("<=", Filter::le),
    (">=", Filter::ge),
    ("=", Filter::eq),
    ("<", Filter::lt),
    (">", Filter::gt),
];

type Compares = fn(FieldPath, Scalar) -> Filter;

const OPERATORS: &str = "an operator (=, ==, !=, <, <=, >, >=, in, between, is null, contains, starts with, matches)";

fn part_at(field: usize, value: usize) -> impl Fn(Part) -> usize {
    move |part| if part == Part::Field { field } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::error::FilterProblem;

    fn filter_of(text: &str) -> Filter {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_of_the_grammar_is_read() {
        let a = || Filter::exists("a");
        for (text, expected) in [
            ("true", Filter::all()),
            ("NOT Exists a", Filter::not(a())),
            ("exists a and exists a or exists a", a().and(a()).or(a())),
            ("exists a and (exists a or exists a)", a().and(a().or(a()))),
            ("not exists a and exists a", Filter::not(a()).and(a())),
            ("not (exists a and exists a)", Filter::not(a().and(a()))),
            ("((exists a))", a()),
            ("size>=-1.5e3", Filter::ge("size", -1500.0)),
            ("a = 18446744073709551615", Filter::eq("a", u64::MAX)),
            ("a = 18446744073709551616", Filter::eq("a", u64::MAX as f64)),
            ("a != null", Filter::ne("a", Scalar::Null)),
            (
                "tag not in [\"a\" , 1,true]",
                Filter::not(Filter::is_in("tag", ["a".into(), 1.into(), Scalar::Bool(true)])),
            ),
            ("tag IN []", Filter::is_in("tag", Vec::<Scalar>::new())),
            ("a between 1 and 5 and exists a", Filter::between("a", 1, 5).and(a())),
            (
                "a.b-c.\"d e\".0 is null",
                Filter::is_null(FieldPath::of_keys(["a", "b-c", "d e", "0"])),
            ),
            ("\"and\" contains \"\\u00e9\\n\"", Filter::contains("and", "é\n")),
            ("name  starts\n with \"ab\"", Filter::starts_with("name", "ab")),
            ("body matches \"two terms\"", Filter::matches_text("body", "two terms")),
            ("in in [1]", Filter::is_in("in", [1])),
            ("größe < \"ä\"", Filter::lt("größe", "ä")),
            ("a == 1", Filter::eq("a", 1)),
            ("a=='it\\'s \"so\"'", Filter::eq("a", "it's \"so\"")),
            (
                "tag in ('a', \"b\", 1)",
                Filter::is_in("tag", ["a".into(), "b".into(), Scalar::from(1)]),
            ),
            ("tag not in ()", Filter::not(Filter::is_in("tag", Vec::<Scalar>::new()))),
            ("body matches 'two terms'", Filter::matches_text("body", "two terms")),
            ("exists a && !exists a || exists a", a().and(Filter::not(a())).or(a())),
            (
                "!(exists a||exists a)&&a!=1",
                Filter::not(a().or(a())).and(Filter::ne("a", 1)),
            ),
        ] {
            assert_eq!(filter_of(text), expected, "{text}");
            assert_eq!(filter_of(&expected.to_string()), expected, "{text}");
        }
    }

    #[test]
    fn an_error_points_at_its_column_and_says_what_to_do() {
        for (text, expected) in [
            ("", "column 1: expected a field, found the end"),
            ("a = ", "column 5: expected a value, found the end"),
            (
                "é = devel",
                "column 5: expected a value, found `devel`; text is written in quotes: \"devel\"",
            ),
            (
                "a = 'x",
                "column 5: bad string: the string does not end; a single quote is missing",
            ),
            (
                "a <> 1",
                "column 3: expected an operator (=, ==, !=, <, <=, >, >=, in, between, is null, contains, starts with, \
                        matches), found `<`; write `!=`",
            ),
            (
                "a = 1 & b = 2",
                "column 7: expected `and`, `or` or the end, found `&`; write `and` or `&&`",
            ),
            (
                "'a' = 1",
                "column 1: expected a field, found `'`; quote a field with double quotes",
            ),
            ("a in (1, 2]", "column 11: expected `,` or `)`, found `]`"),
            (
                "a = 1)",
                "column 6: expected `and`, `or` or the end, found `)`; there is no `(` for it",
            ),
            ("(a = 1", "column 7: expected `and`, `or` or `)`, found the end"),
            (
                "5 < a",
                "column 1: expected a field, found `5`; the field comes first, as in size > 5; one that begins like a \
                       number is quoted",
            ),
            (
                "and = 1",
                "column 1: expected a field, found `and`; a field of this name is quoted: \"and\"",
            ),
            ("a = 1 and", "column 10: expected a field, found the end"),
            (
                "a..b = 1",
                "column 3: expected a key, found `.`; quote a key with other characters: a.\"b c\"",
            ),
            (
                "a = 01",
                "column 5: expected a number, found `01`; write 5, -5, 0.5 or 5e9, and text in quotes",
            ),
            ("a = 1e999", "column 5: the number is 1e999; it must be finite"),
            (
                "a = [1]",
                "column 5: an array is not a single value; compare with null, a boolean, a number or a string",
            ),
            ("a in [1 2]", "column 9: expected `,` or `]`, found `2`"),
            ("a in [1,]", "column 9: expected a value, found `]`"),
            (
                "a is not null",
                "column 6: expected `null`, found `not`; `exists a and a != null` asks for a value, `not a is \
                               null` finds entries without the field too",
            ),
            (
                "exists b and a < true",
                "column 18: true has no order; numbers and strings have one",
            ),
            (
                "ä between 5 and 1",
                "column 17: the lower bound 5 lies above the upper bound 1; swap them",
            ),
            (
                "a = \"b\\x\"",
                "column 7: bad string: escapes are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four \
                             hexadecimal digits",
            ),
            (
                "a = \"b",
                "column 5: bad string: the string does not end; a double quote is missing",
            ),
            (
                "a matches \"--\"",
                "column 11: \"--\" has no term, neither a letter nor a digit; leave the condition out",
            ),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap_err().to_string(), expected, "{text}");
        }
        let dates = DateFields::of(["when"]).unwrap();
        let error = Filter::parse("exists a or when in [\"2026-01-01\", \"soon\"]", &dates).unwrap_err();
        assert_eq!(*error.place(), FilterPlace::Column(36));
        assert!(matches!(error.problem(), FilterProblem::InvalidDate { .. }));
    }

    #[test]
    fn bombs_are_refused_where_they_go_too_far() {
        let refused = |text: &str| text.parse::<Filter>().unwrap_err();
        for opening in ["(", "not ", "not(", "((not ", "!", "!("] {
            let error = refused(&opening.repeat(100_000));
            assert!(
                error
                    .to_string()
                    .ends_with("the filter has 33 levels; at most 32 are allowed"),
                "{error}"
            );
        }
        let error = refused(&format!("true{}", " and true".repeat(1024)));
        assert!(
            error
                .to_string()
                .ends_with("the filter has 1025 conditions; at most 1024 are allowed"),
            "{error}"
        );
        let error = refused(&format!("a in [1{}]", ",1".repeat(65_536)));
        assert_eq!(*error.place(), FilterPlace::Column(7 + 2 * 65_536));
        let deepest = |nots: usize| format!("{}(true and true)", "not ".repeat(nots));
        assert_eq!(filter_of(&deepest(30)).to_string(), deepest(30));
        assert!(
            refused(&deepest(31))
                .to_string()
                .ends_with("33 levels; at most 32 are allowed")
        );
    }
}
