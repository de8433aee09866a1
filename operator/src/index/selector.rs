//! Label selectors, as the Kubernetes API defines them: all requirements hold, an empty selector selects everything.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether route selectors are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selecting {
    /// A route concerns the pods whose labels its selector matches.
    #[default]
    Labels,
    /// Every route concerns every pod: `coppice dev`, where the one pod has no labels.
    Everything,
}

/// A label selector, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

/// Why a label selector says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Another operator than the four.
    #[error("matchExpressions[{0}].operator {1:?} is unknown: write In, NotIn, Exists or DoesNotExist")]
    Operator(usize, String),
    /// `In` or `NotIn` without values.
    #[error("matchExpressions[{0}].values is empty: {1} needs at least one value")]
    NoValues(usize, String),
    /// `Exists` or `DoesNotExist` with values.
    #[error("matchExpressions[{0}].values must be empty: {1} takes none")]
    Values(usize, String),
}

impl Selector {
    /// Checks a selector; all problems are returned.
    pub fn parse(selector: &LabelSelector) -> Result<Self, Vec<SelectorError>> {
        let mut problems = Vec::new();
        let mut requirements: Vec<_> = (selector.match_labels.iter().flatten())
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]))
            .collect();
        for (position, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let key = expression.key.clone();
            let values = expression.values.clone().unwrap_or_default();
            match (expression.operator.as_str(), values.is_empty()) {
                ("In", false) => requirements.push(Requirement::In(key, values)),
                ("NotIn", false) => requirements.push(Requirement::NotIn(key, values)),
                ("Exists", true) => requirements.push(Requirement::Exists(key)),
                ("DoesNotExist", true) => requirements.push(Requirement::DoesNotExist(key)),
                ("In" | "NotIn", true) => {
                    problems.push(SelectorError::NoValues(position, expression.operator.clone()));
                }
                ("Exists" | "DoesNotExist", false) => {
                    problems.push(SelectorError::Values(position, expression.operator.clone()));
                }
                (other, _) => problems.push(SelectorError::Operator(position, other.to_owned())),
            }
        }
        if problems.is_empty() {
            Ok(Self(requirements))
        } else {
            Err(problems)
        }
    }

    /// Do these labels satisfy every requirement? A label that is not there satisfies `NotIn`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: serde_json::Value) -> Result<Selector, Vec<SelectorError>> {
        Selector::parse(&serde_json::from_value(json).unwrap())
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn selects_as_kubernetes_does() {
        let selects = |json, pairs: &[_]| selector(json).unwrap().matches(&labels(pairs));
        assert!(
            selects(serde_json::json!({}), &[]),
            "an empty selector selects all"
        );
        let app = serde_json::json!({"matchLabels": {"app": "shop"}});
        assert!(selects(app.clone(), &[("app", "shop"), ("tier", "web")]));
        assert!(!selects(app.clone(), &[("app", "blog")]));
        assert!(!selects(app, &[]));
        let not_in = serde_json::json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a", "b"]}]});
        assert!(selects(not_in.clone(), &[]), "an absent label is in no set");
        assert!(!selects(not_in, &[("app", "b")]));
        let both = serde_json::json!({"matchExpressions": [
            {"key": "app", "operator": "Exists"}, {"key": "canary", "operator": "DoesNotExist"}]});
        assert!(selects(both.clone(), &[("app", "")]));
        assert!(!selects(both, &[("app", "x"), ("canary", "true")]));
    }

    #[test]
    fn all_problems_are_named() {
        let problems = selector(serde_json::json!({"matchExpressions": [
            {"key": "a", "operator": "Like"}, {"key": "b", "operator": "In"}, {"key": "c", "operator": "Exists", "values": ["x"]}]}))
        .unwrap_err();
        assert_eq!(problems.len(), 3);
        assert!(problems[0].to_string().contains("matchExpressions[0]"));
    }
}
