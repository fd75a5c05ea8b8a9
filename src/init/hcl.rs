//! Bake files in HCL, as `docker buildx bake --print` would print them.
//!
//! Evaluates the defaults of variables, the functions of the file, `inherits` and `matrix`. What only
//! buildx knows, such as a variable without a default, is an unknown value.

use std::{cell::Cell, collections::BTreeMap};

use hcl::{
    Body, Expression, ObjectKey, Structure, Template, TemplateExpr,
    expr::{BinaryOperator, ForExpr, Operation, TraversalOperator, UnaryOperator},
    template::Element,
};
use serde_json::{Map, Value};

use super::{
    bake::TargetsError,
    evidence::{turns, unknown},
};

/// The parser and the evaluation are recursive.
const DEEPEST: usize = 64;
/// Variables can double each other.
const STEPS: usize = 20_000;

type Names = Map<String, Value>;
type Fields = BTreeMap<String, Expression>;

/// The targets of files by name, with the fields that `docker buildx bake --print` has. A later file overrides those
/// before it.
pub(super) fn targets(texts: &[&str]) -> Result<Map<String, Value>, TargetsError> {
    let mut file = HclFile { steps: Cell::new(STEPS), ..HclFile::default() };
    for text in texts {
        if nesting(text) > DEEPEST {
            return Err(TargetsError::NotBake("its brackets are nested too deeply".to_owned()));
        }
        file.read(hcl::parse(text).map_err(syntax)?);
    }
    let mut all = Map::new();
    for (name, fields) in &file.targets {
        for row in file.rows(fields) {
            let fields = file.fields(name, &row, 0);
            let own = fields.get("name").and_then(Value::as_str).unwrap_or(name).to_owned();
            all.insert(own, Value::Object(fields));
        }
    }
    Ok(all)
}

fn syntax(error: hcl::Error) -> TargetsError {
    match error {
        hcl::Error::Parse(error) => TargetsError::Syntax {
            line: error.location().line(),
            problem: error.message().trim().replace('\n', "; "),
        },
        other => TargetsError::Syntax { line: 1, problem: other.to_string() },
    }
}

/// How many brackets are open at once.
fn nesting(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => now += 1,
            ')' | ']' | '}' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

#[derive(Default)]
struct HclFile {
    variables: Fields,
    /// Parameters and result.
    functions: BTreeMap<String, (Vec<String>, Expression)>,
    targets: BTreeMap<String, Fields>,
    steps: Cell<usize>,
}

impl HclFile {
    fn read(&mut self, body: Body) {
        for structure in body {
            let block = match structure {
                Structure::Attribute(one) => {
                    self.variables.insert(one.key.to_string(), one.expr);
                    continue;
                }
                Structure::Block(block) => block,
            };
            let Some(label) = block.labels.first().map(|one| one.as_str().to_owned()) else {
                continue;
            };
            let attributes = block.body.into_attributes();
            let mut fields: Fields =
                attributes.map(|one| (one.key.to_string(), one.expr)).collect();
            match block.identifier.as_str() {
                "variable" => {
                    self.variables.extend(fields.remove("default").map(|one| (label, one)));
                }
                "function" => {
                    let names = match fields.get("params") {
                        Some(Expression::Array(names)) => names.iter().map(Expression::to_string),
                        _ => continue,
                    };
                    let (names, result) = (names.collect(), fields.remove("result"));
                    self.functions.extend(result.map(|one| (label, (names, one))));
                }
                "target" => self.targets.entry(label).or_default().extend(fields),
                _ => {}
            }
        }
    }

    /// The combinations of a target's matrix.
    fn rows(&self, fields: &Fields) -> Vec<Names> {
        let mut rows = vec![Names::new()];
        let matrix = fields.get("matrix").map(|one| self.value(one, &Names::new(), 0));
        for (key, values) in matrix.as_ref().and_then(Value::as_object).into_iter().flatten() {
            let values = values.as_array().map_or(&[][..], Vec::as_slice);
            rows = turns(rows, values, |row, one| _ = row.insert(key.clone(), one.clone()));
        }
        rows
    }

    /// The fields of a target on top of those that it inherits.
    fn fields(&self, name: &str, row: &Names, depth: usize) -> Map<String, Value> {
        let mut fields = Map::new();
        let Some(own) = self.targets.get(name).filter(|_| depth < DEEPEST) else { return fields };
        let read = |key: &str| own.get(key).map(|one| self.value(one, row, 0));
        if !self.may_go_on() {
            return fields;
        }
        for parent in read("inherits").as_ref().and_then(Value::as_array).into_iter().flatten() {
            let parent = parent.as_str().unwrap_or_default();
            merge(&mut fields, self.fields(parent, &Names::new(), depth + 1));
        }
        fields.remove("name");
        merge(&mut fields, own.keys().filter_map(|key| Some((key.clone(), read(key)?))).collect());
        fields
    }

    fn may_go_on(&self) -> bool {
        self.steps.replace(self.steps.get().saturating_sub(1)) > 0
    }

    fn value(&self, expression: &Expression, names: &Names, depth: usize) -> Value {
        if depth > DEEPEST || !self.may_go_on() {
            return unknown("?").into();
        }
        let read = |one: &Expression| self.value(one, names, depth + 1);
        match expression {
            Expression::Null => Value::Null,
            Expression::Bool(value) => (*value).into(),
            Expression::Number(number) => {
                serde_json::from_str(&number.to_string()).unwrap_or_default()
            }
            Expression::String(text) => text.clone().into(),
            Expression::Array(items) => items.iter().map(read).collect(),
            Expression::Object(map) => {
                let pair = |(key, value): (&ObjectKey, &Expression)| match key {
                    ObjectKey::Expression(key) => (shown(&read(key)), read(value)),
                    key => (key.to_string(), read(value)),
                };
                Value::Object(map.iter().map(pair).collect())
            }
            Expression::TemplateExpr(text) => {
                let text = match &**text {
                    TemplateExpr::QuotedString(text) => text,
                    TemplateExpr::Heredoc(text) => &text.template,
                };
                self.template(text, names, depth)
            }
            Expression::Variable(name) => match names.get(name.as_str()) {
                Some(value) => value.clone(),
                None => match self.variables.get(name.as_str()) {
                    Some(default) => self.value(default, &Names::new(), depth + 1),
                    None => unknown(name).into(),
                },
            },
            Expression::Traversal(path) => {
                path.operators.iter().fold(read(&path.expr), |value, one| match one {
                    TraversalOperator::GetAttr(key) => item(&value, key),
                    TraversalOperator::Index(key) => item(&value, &shown(&read(key))),
                    _ => unknown("*").into(),
                })
            }
            Expression::FuncCall(call) => {
                let arguments: Vec<Value> = call.args.iter().map(read).collect();
                self.call(&call.name.name, &arguments, depth)
            }
            Expression::Parenthesis(inside) => read(inside),
            Expression::Conditional(one) => {
                read(if is_true(&read(&one.cond_expr)) { &one.true_expr } else { &one.false_expr })
            }
            Expression::Operation(operation) => match &**operation {
                Operation::Unary(one) if one.operator == UnaryOperator::Not => {
                    (!is_true(&read(&one.expr))).into()
                }
                Operation::Binary(one) => {
                    let (left, right) = (read(&one.lhs_expr), read(&one.rhs_expr));
                    match one.operator {
                        BinaryOperator::Eq => (shown(&left) == shown(&right)).into(),
                        BinaryOperator::NotEq => (shown(&left) != shown(&right)).into(),
                        BinaryOperator::And => (is_true(&left) && is_true(&right)).into(),
                        BinaryOperator::Or => (is_true(&left) || is_true(&right)).into(),
                        _ => unknown("?").into(),
                    }
                }
                Operation::Unary(_) => unknown("?").into(),
            },
            Expression::ForExpr(each) => self.each(each, names, depth),
            _ => unknown("?").into(),
        }
    }

    /// A text with `${…}`. One that is a single template keeps the type of its value.
    fn template(&self, text: &str, names: &Names, depth: usize) -> Value {
        let parsed = if text.contains("${") || text.contains("%{") {
            text.parse::<Template>().ok()
        } else {
            None
        };
        let Some(template) = parsed else { return text.into() };
        let mut parts = template.elements().iter().map(|element| match element {
            Element::Literal(text) => text.clone().into(),
            Element::Interpolation(one) => self.value(&one.expr, names, depth + 1),
            Element::Directive(_) => unknown("%").into(),
        });
        let first = parts.next().unwrap_or_else(|| "".into());
        match parts.next() {
            None => first,
            Some(second) => {
                let rest: String = parts.map(|one| shown(&one)).collect();
                (shown(&first) + &shown(&second) + &rest).into()
            }
        }
    }

    fn each(&self, each: &ForExpr, names: &Names, depth: usize) -> Value {
        let pairs: Vec<(Value, Value)> = match self.value(&each.collection_expr, names, depth + 1) {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(map) => map.into_iter().map(|(key, value)| (key.into(), value)).collect(),
            _ => Vec::new(),
        };
        let rows = pairs.into_iter().map(|(key, value)| {
            let key = each.key_var.as_ref().map(|name| (name.to_string(), key));
            with(names, key.into_iter().chain([(each.value_var.to_string(), value)]))
        });
        let read = |one: &Expression, row: &Names| self.value(one, row, depth + 1);
        let rows =
            rows.filter(|row| each.cond_expr.as_ref().is_none_or(|one| is_true(&read(one, row))));
        match &each.key_expr {
            None => rows.map(|row| read(&each.value_expr, &row)).collect(),
            Some(key) => Value::Object(
                rows.map(|row| (shown(&read(key, &row)), read(&each.value_expr, &row))).collect(),
            ),
        }
    }

    fn call(&self, name: &str, arguments: &[Value], depth: usize) -> Value {
        if let Some((names, result)) = self.functions.get(name) {
            let arguments = names.iter().cloned().zip(arguments.iter().cloned());
            return self.value(result, &arguments.collect(), depth + 1);
        }
        let texts: Vec<String> = arguments.iter().map(shown).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let items = |at: usize| arguments.get(at).and_then(Value::as_array).into_iter().flatten();
        match (name, &texts[..]) {
            ("equal", [a, b]) => (a == b).into(),
            ("notequal", [a, b]) => (a != b).into(),
            ("not", [a]) => (*a != "true").into(),
            ("and", all) => all.iter().all(|one| *one == "true").into(),
            ("or", all) => all.contains(&"true").into(),
            ("lower", [a]) => a.to_lowercase().into(),
            ("upper", [a]) => a.to_uppercase().into(),
            ("replace", [a, from, to]) => a.replace(from, to).into(),
            ("trimprefix", [a, b]) => a.strip_prefix(b).unwrap_or(a).into(),
            ("trimsuffix", [a, b]) => a.strip_suffix(b).unwrap_or(a).into(),
            ("split", [by, a]) if !by.is_empty() => a.split(by).map(Value::from).collect(),
            ("join", [by, _]) => items(1).map(shown).collect::<Vec<_>>().join(by).into(),
            ("concat", _) => (0..arguments.len()).flat_map(items).cloned().collect(),
            ("format", [text, rest @ ..]) => {
                let fill = |text: String, one: &&str| text.replacen("%s", one, 1);
                rest.iter().fold((*text).to_owned(), fill).into()
            }
            _ => unknown(name).into(),
        }
    }
}

fn with(names: &Names, more: impl IntoIterator<Item = (String, Value)>) -> Names {
    names.clone().into_iter().chain(more).collect()
}

/// Maps are merged by key; everything else is replaced.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (_, value) => _ = into.insert(key, value),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true) || value.as_str() == Some("true")
}

fn item(value: &Value, key: &str) -> Value {
    let item = match value {
        Value::Array(items) => key.parse().ok().and_then(|at: usize| items.get(at)),
        value => value.get(key),
    };
    item.cloned().unwrap_or_else(|| unknown(key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_bake_files() {
        let text = r#"
    variable "REPO" { default = "acme/${lower("APP")}" }
    variable "TAG" {}
    variable "LATEST" { default = "" }
    function "tags" {
      params = [name, v]
      result = ["${REPO}-${name}:${v}", LATEST == "" ? "" : "x/${name}"]
    }
    group "default" { targets = ["base", "web"] }
    target "common" {
      args = { A = 1, "B" = "b" } // inherited
    }
    target "base" {
      inherits = ["common"]
      args = { B = "c" }
      tags = tags("base", "1")
    }
    target "web" {
      name = "web-${replace(item.v, ".", "-")}"
      matrix = { item = [{ v = "1.0" }, { v = "2.0" }] }
      tags = [for t in ["a", "b", ""] : "r/web:${item.v}-${t}" if t != ""]
      contexts = { base = "target:base" }
    }
    target "loose" { tags = ["${REPO}:${TAG}", format("%s/%s", "a", "b")] }
"#;
        let all = targets(&[text]).unwrap();
        for (name, key, expected) in [
            ("base", "args", r#"{"A":1,"B":"c"}"#),
            ("base", "tags", r#"["acme/app-base:1",""]"#),
            ("web-2-0", "tags", r#"["r/web:2.0-a","r/web:2.0-b"]"#),
            ("web-1-0", "contexts", r#"{"base":"target:base"}"#),
            ("loose", "tags", r#"["acme/app:\u0001TAG\u0002","a/b"]"#),
        ] {
            assert_eq!(all[name][key].to_string(), expected, "{name} {key}");
        }
    }

    #[test]
    fn a_later_file_overrides_attributes_and_variables() {
        let own = "N = 1\nvariable \"V\" { default = \"a\" }\ntarget \"t\" {\ntags = [\"r/x:${V}-${N}\"]\ncontext = \"c\"\n}";
        let over = "N = 2\nvariable \"V\" { default = \"b\" }\ntarget \"t\" { target = \"x\" }";
        let all = targets(&[own, over]).unwrap();
        let expected = serde_json::json!({ "context": "c", "tags": ["r/x:b-2"], "target": "x" });
        assert_eq!(all["t"], expected);
    }

    #[test]
    fn hostile_expressions_end() {
        let deep = format!("target \"a\" {{ tags = {}1{} }}", "[".repeat(9999), "]".repeat(9999));
        assert!(targets(&[&deep]).is_err());
        let ring = r#"
    variable "A" { default = "${B}${B}" }
    variable "B" { default = "${A}${A}" }
    target "a" {
      inherits = ["a", "a"]
      tags = [A]
    }"#;
        assert!(targets(&[ring]).is_ok());
    }

    #[test]
    fn fuzz_hcl() {
        let words = ["{", "}", "[", "\"", "${", "=", "target", "for", "in", ":", "?", "<<E\n", "("];
        let example: &[u8] = b"variable \"V\" { default = \"1\" }\ntarget \"a\" {\n  tags = [\"a:${V}\", V == 1 ? \"x\" : f(2)]\n}\n";
        crate::testing::fuzz::each(&[example], &words, |text| {
            _ = targets(&[&String::from_utf8_lossy(text)]);
        });
    }
}
