//! Filters as SQL over `jsonb`.
//!
//! Conditions become expressions that are true or false and never null, with the meaning that `llmspell_core::filter` defines.
//! SQL cannot decide `matches` and the comparison of dates; such a condition becomes two expressions, one that is true of every match
//! and one that is true of no other. The whole filter then selects a superset, and the compiled filter decides here.

use llmspell_core::filter::FieldPath;
use llmspell_core::{CompiledFilter, DateFields, Filter, Result, Scalar};
use tokio_postgres::types::{ToSql, Type};

use super::fields::{encoded, number, quoted};

/// The protocol has room for 65,535 parameters of a statement.
const PARAMS_MAX: usize = 60_000;

/// A filter as SQL.
#[derive(Debug)]
pub(super) struct SqlFilter {
    /// A condition that is true of every match.
    pub(super) sql: String,
    pub(super) params: Vec<Param>,
    /// What decides about the rows that the condition selects; none if the condition does.
    pub(super) rest: Option<CompiledFilter>,
}

/// A parameter, with its type.
#[derive(Debug, Clone)]
pub(super) enum Param {
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
    Int(i64),
}

impl Param {
    pub(super) fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Text(text) => (text, Type::TEXT),
            Self::Texts(texts) => (texts, Type::TEXT_ARRAY),
            Self::Bytes(bytes) => (bytes, Type::BYTEA),
            Self::Floats(floats) => (floats, Type::FLOAT4_ARRAY),
            Self::Int(int) => (int, Type::INT8),
        }
    }
}

/// Parameters of a statement with those of its filter.
pub(super) fn typed(params: &[Param]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    params.iter().map(Param::typed).collect()
}

impl SqlFilter {
    /// A filter that selects everything.
    pub(super) fn all() -> Self {
        Self {
            sql: "true".to_string(),
            params: Vec::new(),
            rest: None,
        }
    }

    /// Whether it selects everything.
    pub(super) fn is_all(&self) -> bool {
        self.rest.is_none() && self.sql == "true"
    }

    /// Checks the filter and writes it as SQL whose parameters begin after `$before`.
    ///
    /// # Errors
    ///
    /// `Invalid` with the first problem.
    pub(super) fn of(filter: &Filter, dates: &DateFields, before: usize) -> Result<Self> {
        let compiled = filter.compile(dates)?;
        let mut writer = Writer {
            dates,
            before,
            params: Vec::new(),
        };
        let Bounds { upper, lower } = writer.node(&filter.in_millis());
        if writer.params.len() > PARAMS_MAX {
            let rest = Some(compiled);
            return Ok(Self { rest, ..Self::all() });
        }
        Ok(Self {
            rest: lower.is_some().then_some(compiled),
            sql: upper,
            params: writer.params,
        })
    }
}

/// A condition as SQL: true of every match; and, if it is true of others as well, one that is true of matches only.
struct Bounds {
    upper: String,
    lower: Option<String>,
}

impl Bounds {
    fn exact(sql: String) -> Self {
        Self {
            upper: sql,
            lower: None,
        }
    }

    fn lower(&self) -> &str {
        self.lower.as_deref().unwrap_or(&self.upper)
    }

    fn not(self) -> Self {
        Self {
            upper: format!("NOT {}", self.lower()),
            lower: self.lower.is_some().then(|| format!("NOT {}", self.upper)),
        }
    }

    fn join(all: &[Self], word: &str) -> Self {
        let of = |side: fn(&Self) -> &str| {
            let parts: Vec<&str> = all.iter().map(side).collect();
            format!("({})", parts.join(word))
        };
        Self {
            upper: of(|bounds| &bounds.upper),
            lower: all.iter().any(|bounds| bounds.lower.is_some()).then(|| of(Self::lower)),
        }
    }
}

struct Writer<'d> {
    dates: &'d DateFields,
    before: usize,
    params: Vec<Param>,
}

impl Writer<'_> {
    fn param(&mut self, param: Param) -> String {
        self.params.push(param);
        format!("${}", self.before + self.params.len())
    }

    /// The recursion is as deep as the filter, which was checked.
    fn node(&mut self, filter: &Filter) -> Bounds {
        match filter {
            Filter::And(conditions) => Bounds::join(&self.nodes(conditions), " AND "),
            Filter::Or(conditions) => Bounds::join(&self.nodes(conditions), " OR "),
            Filter::Not(condition) => self.node(condition).not(),
            Filter::Eq { field, value } => self.one_of(field, std::slice::from_ref(value)),
            Filter::Ne { field, value } => self.one_of(field, std::slice::from_ref(value)).not(),
            Filter::In { field, values } => self.one_of(field, values),
            Filter::Lt { field, value } => self.ordered(field, "<", value),
            Filter::Le { field, value } => self.ordered(field, "<=", value),
            Filter::Gt { field, value } => self.ordered(field, ">", value),
            Filter::Ge { field, value } => self.ordered(field, ">=", value),
            Filter::Between { field, low, high } => {
                let bounds = [self.ordered(field, ">=", low), self.ordered(field, "<=", high)];
                Bounds::join(&bounds, " AND ")
            }
            Filter::Exists { field } => {
                let value = self.value(field);
                Bounds::exact(format!("({value} IS NOT NULL)"))
            }
            Filter::IsNull { field } => self.one_of(field, &[Scalar::Null]),
            Filter::Contains { field, value } => self.contains(field, value),
            Filter::StartsWith { field, prefix } => {
                let value = self.value(field);
                let prefix = self.param(Param::Text(encoded(prefix)));
                Bounds::exact(of_type(
                    "string",
                    &value,
                    &format!("starts_with({value} #>> '{{}}', {prefix})"),
                ))
            }
            Filter::MatchesText { field, .. } => self.any_string(field, "false".to_string()),
            Filter::All => Bounds::exact("true".to_string()),
            // Not written yet when this was: everything is a superset.
            _ => Bounds {
                upper: "true".to_string(),
                lower: Some("false".to_string()),
            },
        }
    }

    fn nodes(&mut self, conditions: &[Filter]) -> Vec<Bounds> {
        conditions.iter().map(|condition| self.node(condition)).collect()
    }

    /// The value of a field: null in SQL if and only if the field is missing. Keys lead into objects only. A time is a column.
    fn value(&mut self, field: &FieldPath) -> String {
        if let Some(time) = field.own_time() {
            return time.name().trim_start_matches('@').to_string();
        }
        let mut path = String::from("(fields");
        for key in field.keys() {
            let key = self.param(Param::Text(encoded(key)));
            path.push_str(&format!(" -> {key}::text"));
        }
        path.push(')');
        path
    }

    fn one_of(&mut self, field: &FieldPath, values: &[Scalar]) -> Bounds {
        if field.own_time().is_some() {
            let column = self.value(field);
            let numbers = self.param(Param::Texts(values.iter().filter_map(number_text).collect()));
            return Bounds::exact(format!(
                "coalesce({column}::numeric = ANY ({numbers}::text[]::numeric[]), false)"
            ));
        }
        // Dates are compared as moments, which SQL cannot do: only the other values count.
        let is_date_field = self.dates.contains(field);
        let (dates, others): (Vec<&Scalar>, Vec<&Scalar>) = values
            .iter()
            .partition(|value| is_date_field && matches!(value, Scalar::Text(_)));
        let value = self.value(field);
        let others = match others.as_slice() {
            [] => "false".to_string(),
            [one] => {
                let one = self.param(Param::Text(json_text(one)));
                format!("coalesce({value} = {one}::text::jsonb, false)")
            }
            several => {
                let several = self.param(Param::Texts(several.iter().map(|value| json_text(value)).collect()));
                format!("coalesce({value} = ANY ({several}::text[]::jsonb[]), false)")
            }
        };
        match dates.is_empty() {
            true => Bounds::exact(others),
            false => self.any_string(field, others),
        }
    }

    fn ordered(&mut self, field: &FieldPath, operator: &str, bound: &Scalar) -> Bounds {
        let is_date = self.dates.contains(field) && matches!(bound, Scalar::Text(_));
        if is_date {
            return self.any_string(field, "false".to_string());
        }
        let value = self.value(field);
        match bound {
            Scalar::Text(text) => {
                let text = self.param(Param::Text(encoded(text)));
                let comparison = format!("({value} #>> '{{}}') COLLATE \"C\" {operator} {text}");
                Bounds::exact(of_type("string", &value, &comparison))
            }
            other => {
                let number = self.param(Param::Text(number_text(other).unwrap_or_default()));
                let comparison = format!("{value}::numeric {operator} {number}::text::numeric");
                Bounds::exact(match field.own_time() {
                    Some(_) => format!("coalesce({comparison}, false)"),
                    None => of_type("number", &value, &comparison),
                })
            }
        }
    }

    fn contains(&mut self, field: &FieldPath, element: &Scalar) -> Bounds {
        let value = self.value(field);
        if self.dates.contains(field) && matches!(element, Scalar::Text(_)) {
            return Bounds {
                upper: of_type("array", &value, "true"),
                lower: Some("false".to_string()),
            };
        }
        let element = self.param(Param::Text(format!("[{}]", json_text(element))));
        Bounds::exact(of_type("array", &value, &format!("{value} @> {element}::text::jsonb")))
    }

    /// A condition on strings that SQL cannot decide, or one that it can.
    fn any_string(&mut self, field: &FieldPath, or: String) -> Bounds {
        let value = self.value(field);
        Bounds {
            upper: format!("({} OR {or})", of_type("string", &value, "true")),
            lower: Some(or),
        }
    }
}

/// A condition that holds for values of a type only.
fn of_type(name: &str, value: &str, condition: &str) -> String {
    format!("coalesce(CASE WHEN jsonb_typeof({value}) = '{name}' THEN {condition} END, false)")
}

fn number_text(value: &Scalar) -> Option<String> {
    match value {
        Scalar::Number(value) => match serde_json::to_value(value).ok()? {
            serde_json::Value::Number(value) => Some(number(&value).0),
            _ => None,
        },
        Scalar::Null | Scalar::Bool(_) | Scalar::Text(_) => None,
    }
}

/// A value as it stands in the column.
fn json_text(value: &Scalar) -> String {
    match value {
        Scalar::Null => "null".to_string(),
        Scalar::Bool(truth) => truth.to_string(),
        Scalar::Text(text) => quoted(text),
        Scalar::Number(_) => number_text(value).unwrap_or_else(|| "null".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(filter: &str, dates: &DateFields) -> (String, bool) {
        let filter = SqlFilter::of(&Filter::parse(filter, dates).unwrap(), dates, 3).unwrap();
        (filter.sql, filter.rest.is_some())
    }

    #[test]
    fn a_comparison_is_true_or_false_and_counts_its_parameters_on() {
        let none = DateFields::none();
        assert_eq!(
            sql("a.b = 1", &none),
            (
                "coalesce((fields -> $4::text -> $5::text) = $6::text::jsonb, false)".to_string(),
                false
            )
        );
        let text = "coalesce(CASE WHEN jsonb_typeof((fields -> $4::text)) = 'string' THEN ((fields -> $4::text) #>> '{}') COLLATE \"C\" < $5 END, false)";
        assert_eq!(sql("a < 'x'", &none), (text.to_string(), false));
        assert_eq!(
            sql("@created_at >= 5", &none).0,
            "coalesce(created_at::numeric >= $4::text::numeric, false)"
        );
        assert_eq!(sql("a in []", &none), ("false".to_string(), false));
    }

    #[test]
    fn what_sql_cannot_decide_is_a_superset_whether_negated_or_not() {
        let none = DateFields::none();
        let (text, is_open) = sql("a matches 'x'", &none);
        assert!(is_open && text.contains("= 'string' THEN true"), "{text}");
        assert_eq!(sql("not a matches 'x'", &none), ("NOT false".to_string(), true));
        let dates = DateFields::of(["a"]).unwrap();
        assert!(sql("a = '2026-01-01'", &dates).1);
        assert!(!sql("a = null", &dates).1, "null in a date field is null");
        assert!(sql("b = 1 and not a < '2026-01-01'", &dates).1);
    }
}
