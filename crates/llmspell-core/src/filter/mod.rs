//! Filters: which entries may be found, counted or deleted.
//!
//! A [`Filter`] is a condition on the metadata of an entry. It is built in code, or written as text or as JSON;
//! [`Filter::compile`] checks it and makes the [`CompiledFilter`] that decides about entries.
//!
//! ```
//! # use llmspell_core::{DateFields, Filter, FilterError};
//! let built = Filter::eq("section", "devel")
//!     .and(Filter::gt("size", 100))
//!     .and(Filter::not(Filter::is_in("tag", ["a", "b"])));
//! let written: Filter = r#"section = "devel" and size > 100 and not tag in ["a", "b"]"#.parse()?;
//! assert_eq!(built, written);
//!
//! let filter = written.compile(&DateFields::none())?;
//! let metadata = serde_json::json!({"section": "devel", "size": 120});
//! assert!(filter.matches(metadata.as_object().unwrap()));
//! # Ok::<(), FilterError>(())
//! ```
//!
//! | file           | question                                                                |
//! |----------------|-------------------------------------------------------------------------|
//! | `condition.rs` | which conditions are there? [`Filter`]                                  |
//! | `path.rs`      | which field is meant? [`FieldPath`]                                     |
//! | `scalar.rs`    | what can a field be compared with? [`Scalar`]                           |
//! | `any_value.rs` | how does any value of serde become a scalar?                           |
//! | `number.rs`    | how do integers and floats compare exactly? [`Number`]                  |
//! | `times.rs`     | which times of its own does an entry have? [`OwnTime`], [`EntryTimes`]  |
//! | `dates.rs`     | which fields hold dates, and which moment is a date? [`DateFields`], [`instant_nanos`] |
//! | `terms.rs`     | which words does a text have? [`terms`]                                 |
//! | `check.rs`     | is a filter valid and small enough?                                     |
//! | `compiled.rs`  | does an entry match? [`CompiledFilter`]                                 |
//! | `text/`        | how is a filter written for people?                                     |
//! | `json/`        | how is it written for programs?                                         |
//! | `error.rs`     | what is wrong with a filter, and where? [`FilterError`]                 |
//!
//! # Meaning
//!
//! Every condition is true or false of every entry; there is no third value as in SQL. A comparison is false where the
//! field is missing, null or of another type, and never an error. `not x` is true exactly where `x` is false.
//!
//! | condition           | true if the field is there and …                  | missing | null  | array           |
//! |---------------------|---------------------------------------------------|---------|-------|-----------------|
//! | `a = v`, `a in [v]` | … equals the value, or one of the values          | false   | only `= null` | false   |
//! | `a != v`, `not a in [v]` | *(the complement of the line above)*         | **true** | unless `!= null` | **true** |
//! | `a < v`, `<=`, `>`, `>=` | … is of the type of the value and so ordered | false   | false | false           |
//! | `a between l and h` | … `l <= a` and `a <= h`                           | false   | false | false           |
//! | `exists a`          | … *(nothing more)*                                | false   | true  | true            |
//! | `a is null`         | … is null: the same as `a = null`                 | false   | true  | false           |
//! | `a contains v`      | … is an array with an element that equals `v`     | false   | false | by its elements |
//! | `a starts with "p"` | … is a string with these first bytes              | false   | false | false           |
//! | `a matches "t u"`   | … is a string that has all the [`terms`]          | false   | false | false           |
//!
//! * **Numbers** compare by their exact value: `1` equals `1.0`, and 2^53 + 1 equals no float. See [`Number`].
//! * **Strings** compare byte by byte: case counts, nothing is normalized.
//! * **Dates**: in a field named by the [`DateFields`], strings stand for moments, so `2026-01-01T01:00:00+01:00` equals
//!   `2026-01-01T00:00:00Z`. A string there that is no date matches no comparison. `starts with` and `matches` still
//!   look at the text.
//! * **Booleans and null** are equal or not, and have no order. Nothing but null equals null.
//! * **Arrays and objects** equal nothing: test an element with `contains`, an inner field by its path. A path leads
//!   into objects, not into arrays; `contains` looks at the elements themselves, not into inner arrays.
//! * **`!=` and `not`** match entries without the field, as in Qdrant, MongoDB and Chroma, but not as in SQL. For a
//!   different value that exists, write `exists a and a != 1`.
//! * **`a in []`** matches nothing; `and` and `or` without conditions are refused.
//!
//! # Fields
//!
//! `a.b` is the key `b` of the object under the key `a`. A key that holds a dot, a quote or nothing at all is quoted like
//! a JSON string: `"a.b".c` is the key `c` under the key `a.b`. See [`FieldPath`].
//!
//! `@event_time`, `@created_at` and `@updated_at` are not fields of the metadata but [times](OwnTime) of the entry
//! itself. They are compared as moments, to the millisecond, with RFC 3339 dates or with milliseconds since 1970: `=`,
//! `!=`, `in`, `<`, `<=`, `>`, `>=`, `between`, and `exists`. A value that is no moment is refused, and so is a
//! condition that no time can match. An entry without an event time matches no comparison of it. A key of the metadata
//! that begins with `@` is quoted.
//!
//! # Text form
//!
//! ```text
//! filter     = all { ( "or" | "||" ) all }
//! all        = one { ( "and" | "&&" ) one }
//! one        = ( "not" | "!" ) one | "(" filter ")" | "true" | "exists" field | field comparison
//! comparison = ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!            | [ "not" ] "in" "[" [ value { "," value } ] "]"             or in parentheses
//!            | "between" value "and" value
//!            | "is" "null" | "contains" value | "starts" "with" string | "matches" string
//! value      = string | number | "true" | "false" | "null"             as in JSON; a string may be in single quotes
//! field      = key { "." key } | "@event_time" | "@created_at" | "@updated_at"
//! key        = "…" | letters, digits, "_", "-", "$", "@"            the first key begins with no digit, "-" or "@"
//! ```
//!
//! Keywords are read in any case. A field that is named `and`, `or`, `not`, `exists`, `true`, `false` or `null` is
//! quoted. `true` alone matches every entry. `x not in […]` is read as `not x in […]`.
//!
//! # JSON form
//!
//! An object with one operator:
//!
//! ```
//! # use llmspell_core::Filter;
//! # let forms = serde_json::json!([
//! {"eq": {"field": "section", "value": "devel"}},           // also ne, lt, le, gt, ge, contains
//! {"in": {"field": "tag", "values": ["a", "b"]}},
//! {"between": {"field": "size", "low": 1, "high": 5}},
//! {"exists": {"field": "meta.author"}},                     // also is_null
//! {"starts_with": {"field": "name", "prefix": "ab"}},
//! {"matches_text": {"field": "body", "text": "two terms"}},
//! {"and": [{"exists": {"field": "a"}}, {"not": {"is_null": {"field": "a"}}}]},   // also or
//! {"all": {}}
//! # ]);
//! # for form in forms.as_array().unwrap() {
//! #     assert_eq!(serde_json::to_value(Filter::from_json(form).unwrap()).unwrap(), *form);
//! # }
//! ```
//!
//! Both forms read back as written, except that `and` and `or` of one condition become that condition.
//!
//! # Limits
//!
//! See [`limits`](crate::limits): `FILTER_DEPTH_MAX`, `FILTER_NODES_MAX`, `FILTER_VALUES_MAX`, `FILTER_TEXT_BYTES_MAX`.
//! They are checked while text and JSON are read, and for filters built in code by [`Filter::validate`] and
//! [`Filter::compile`]. Checks that depend on the date fields (whether a string is a date, whether bounds are reversed)
//! are done by the functions that get those fields: [`Filter::parse`], [`Filter::validate_with`], [`Filter::compile`].

mod any_value;
mod check;
mod compiled;
mod condition;
mod dates;
mod error;
mod json;
mod number;
mod path;
mod scalar;
mod terms;
mod text;
mod times;

pub use compiled::CompiledFilter;
pub use condition::Filter;
pub use dates::{DateFields, instant_nanos};
pub use error::{FilterError, FilterPlace, FilterProblem};
pub use number::Number;
pub use path::FieldPath;
pub use scalar::{NotScalar, Scalar};
pub use terms::{Terms, terms};
pub use times::{EntryTimes, OwnTime};
