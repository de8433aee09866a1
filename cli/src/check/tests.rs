use rstest::rstest;

use super::*;
use crate::yaml;

const ROUTE: &str = "apiVersion: coppice.dev/v1alpha1\nkind: IsrRoute\nmetadata: {name: a}\n";
const REQUEST: &str = "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {name: a}\n";

fn check(text: &str) -> Result<Value, Vec<Violation>> {
    let document = yaml::parse(text).unwrap().remove(0).root;
    let kind = Checker::kind_of(&document).unwrap().unwrap();
    Checker::new().check(kind, &document)
}

fn words(text: &str) -> Vec<String> {
    check(text)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn good_objects_pass() {
    let route = format!(
        "{ROUTE}spec:\n  podSelector: {{matchLabels: {{app: x}}}}\n  rules:\n  - paths: ['/']\n    revalidate: 5m\n  \
         - paths: ['/b/[slug]']\n    revalidate: 60\n    override: [no-store]\n"
    );
    assert_eq!(words(&route), Vec::<String>::new());
    let request = format!("{REQUEST}spec: {{tags: ['a']}}\n");
    let object = check(&request).unwrap();
    assert_eq!(
        object["spec"]["strategy"], "Refresh",
        "defaults are filled in: {object}"
    );
}

#[rstest]
#[case("podSelector: {}", "spec.rules: Required value")]
#[case(
    "podSelector: {}\n  rules: {}",
    "spec.rules: Invalid value: \"object\": spec.rules in body must be of type array: \"object\""
)]
#[case(
    "podSelector: {}\n  suspend: 'yes'\n  rules: [{paths: ['/']}]",
    "spec.suspend: Invalid value: \"string\": spec.suspend in body must be of type boolean: \"string\""
)]
#[case(
    "podSelector: {}\n  rules: [{paths: ['/'], revalidate: 5x}]",
    "spec.rules[0].revalidate: Invalid value: \"5x\": an interval is integer seconds (60), numbers with units ms, s, m, h, d, or never: write 90, 5m or never"
)]
#[case(
    "podSelector: {}\n  rules: [{paths: ['/'], revalidate: -1}]",
    "spec.rules[0].revalidate: Invalid value: -1: an interval is integer seconds (60), numbers with units ms, s, m, h, d, or never: write 90, 5m or never"
)]
#[case(
    "podSelector: {}\n  rules: [{paths: ['/'], revalidate: true}]",
    "spec.rules[0].revalidate: Invalid value: \"boolean\": spec.rules[0].revalidate in body must be of type integer,string: \"boolean\""
)]
#[case(
    "podSelector: {}\n  rules: [{paths: ['/'], override: [nostore]}]",
    "spec.rules[0].override[0]: Unsupported value: \"nostore\": supported values: \"no-store\", \"private\", \"set-cookie\", \"authorization\""
)]
fn says_what_the_api_server_says(#[case] spec: &str, #[case] expected: &str) {
    let found = words(&format!("{ROUTE}spec:\n  {spec}\n"));
    assert!(found.iter().any(|w| w == expected), "{found:#?}");
}

#[test]
fn rules_that_compare_spans_are_evaluated() {
    let rule = |expire: &str| {
        words(&format!(
            "{ROUTE}spec:\n  podSelector: {{}}\n  rules: [{{paths: ['/'], revalidate: 1h, expire: {expire}}}]\n"
        ))
    };
    assert_eq!(rule("90m"), Vec::<String>::new());
    assert_eq!(rule("7200"), Vec::<String>::new());
    for shorter in ["30m", "60"] {
        let found = rule(shorter);
        assert!(
            found[0].starts_with("spec.rules[0].expire: Invalid value: expire is shorter than revalidate"),
            "{found:?}"
        );
    }
}

#[test]
fn unknown_fields_are_said_alone() {
    let text = format!("{ROUTE}spec:\n  podSelector: {{}}\n  rules: [{{path: ['/']}}]\n  foo: 1\n");
    let found = check(&text).unwrap_err();
    let mut words: Vec<_> = found.iter().map(ToString::to_string).collect();
    words.sort();
    assert_eq!(
        words,
        [
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.rules[0].path""#
        ]
    );
    let remedy = |path: &str| {
        let violation = found.iter().find(|v| v.path.to_string() == path).unwrap();
        violation.remedy.clone().unwrap()
    };
    assert_eq!(remedy("spec.rules[0].path"), "did you mean `paths`?");
    assert!(
        remedy("spec.foo").starts_with("known here: "),
        "{}",
        remedy("spec.foo")
    );
}

#[test]
fn duplicate_keys_are_errors() {
    let text = format!("{ROUTE}spec:\n  podSelector: {{}}\n  rules: []\n  rules: []\n");
    assert_eq!(words(&text), [r#"duplicate field "spec.rules""#]);
}

#[test]
fn names_are_checked() {
    let text =
        ROUTE.replace("name: a", "name: Foo_Bar") + "spec: {podSelector: {}, rules: [{paths: ['/']}]}\n";
    let found = words(&text);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .starts_with(r#"metadata.name: Invalid value: "Foo_Bar": a lowercase RFC 1123 subdomain must"#),
        "{found:?}"
    );
    let nameless =
        ROUTE.replace("name: a", "labels: {a: b}") + "spec: {podSelector: {}, rules: [{paths: ['/']}]}\n";
    assert!(
        words(&nameless)
            .contains(&"metadata.name: Required value: name or generateName is required".to_owned()),
        "{:?}",
        words(&nameless)
    );
}

#[test]
fn kinds_of_the_group_must_exist() {
    let kind = |text: &str| Checker::kind_of(&yaml::parse(text).unwrap()[0].root);
    assert_eq!(kind("apiVersion: v1\nkind: Service\n"), Ok(None));
    assert_eq!(
        kind("apiVersion: coppice.dev/v1\nkind: IsrRoute\n")
            .unwrap_err()
            .to_string(),
        r#"no matches for kind "IsrRoute" in version "coppice.dev/v1""#
    );
    assert!(kind("apiVersion: coppice.dev/v1alpha1\nkind: IsrRout\n").is_err());
}

#[test]
fn a_blocking_violation_says_that_rules_were_not_checked() {
    let found = words(&format!("{ROUTE}spec: {{podSelector: {{}}}}\n"));
    assert!(
        found
            .iter()
            .any(|w| w.starts_with("<nil>: Invalid value: null: some validation rules"))
    );
}

/// A keyword that the checker does not know would be a rule that `coppice dev` silently leaves out.
#[test]
fn every_keyword_of_the_crds_is_understood() {
    fn walk(schema: &Value, at: &str) {
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            assert!(
                schema::KEYWORDS.contains(&keyword.as_str()),
                "{at} uses {keyword}"
            );
            match keyword.as_str() {
                "properties" => {
                    for (name, inner) in value.as_object().unwrap() {
                        walk(inner, &format!("{at}.{name}"));
                    }
                }
                "items" | "additionalProperties" => walk(value, at),
                "anyOf" => assert_eq!(schema["x-kubernetes-int-or-string"], true, "{at}: anyOf"),
                "pattern" => assert!(
                    regex::Regex::new(value.as_str().unwrap()).is_ok(),
                    "{at}: {value}"
                ),
                _ => {}
            }
        }
    }
    let checker = Checker::new();
    for kind in Kind::ALL {
        walk(&checker.definition(kind).schema, kind.as_str());
    }
}

/// Each CEL rule must be one that the evaluator can run: an empty object of the right shape must not make it fail to compile.
#[test]
fn every_rule_of_the_crds_compiles() {
    for kind in Kind::ALL {
        let checker = Checker::new();
        let mut rules = Vec::new();
        schema::each_rule(&checker.definition(kind).schema, &mut |rule| {
            rules.push(rule.clone());
        });
        for rule in rules {
            let schema = serde_json::json!({"type": "object", "x-kubernetes-validations": [rule]});
            assert!(compile_schema(&schema).compilation_errors().is_empty(), "{rule}");
        }
    }
}
