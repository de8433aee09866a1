use std::fs;

use super::*;

const ROUTE: &str = "apiVersion: coppice.dev/v1alpha1\nkind: IsrRoute\nmetadata: {name: NAME}\nspec: {podSelector: {}, rules: [{paths: ['/NAME'], revalidate: 5}]}\n";
const REQUEST: &str = "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {generateName: cms-}\nspec: {tags: [a]}\n";

fn route(name: &str) -> String {
    ROUTE.replace("NAME", name)
}

struct Folder {
    folder: tempfile::TempDir,
    manifests: Manifests,
}

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let manifests = Manifests::new(vec![folder.path().to_owned()], None);
        Self { folder, manifests }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn start(&mut self) -> Changes {
        self.manifests.reload(Timestamp::now(), true)
    }

    fn reload(&mut self) -> Changes {
        self.manifests.reload(Timestamp::now(), false)
    }
}

fn names(routes: &[IsrRoute]) -> Vec<&str> {
    routes
        .iter()
        .map(|r| r.metadata.name.as_deref().unwrap())
        .collect()
}

#[test]
fn reads_many_documents_and_skips_other_kinds_once() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n";
    let text = format!("{}---\n{service}---\n{service}---\n{REQUEST}", route("a"));
    let mut folder = Folder::with(&[("a.yaml", &text), ("b.yml", &route("b")), ("notes.txt", "x: [")]);
    let changes = folder.start();
    assert_eq!(changes.problems, []);
    assert_eq!(names(&changes.routes), ["a", "b"]);
    assert_eq!(changes.requests[0].metadata.name.as_deref(), Some("cms-a-1"));
    assert_eq!(
        changes.skipped,
        BTreeSet::from([SkippedKind(Some("Service".to_owned()))])
    );
    assert_eq!(folder.manifests.namespace(), "default");

    folder.write("b.yml", &format!("{}---\n{service}", route("b")));
    let changes = folder.reload();
    assert!(!changes.any() && changes.skipped.is_empty(), "{changes:?}");
}

#[test]
fn a_change_counts_generations_and_saving_unchanged_is_none() {
    let mut folder = Folder::with(&[("a.yaml", &route("a"))]);
    assert_eq!(folder.start().routes[0].metadata.generation, Some(1));
    folder.write("a.yaml", &format!("# a comment\n{}", route("a")));
    assert!(!folder.reload().any());
    folder.write("a.yaml", &route("a").replace("revalidate: 5", "revalidate: 6"));
    assert_eq!(folder.reload().routes[0].metadata.generation, Some(2));
}

#[test]
fn a_broken_file_keeps_what_was_in_force() {
    let mut folder = Folder::with(&[("a.yaml", &route("a")), ("b.yaml", &route("b"))]);
    folder.start();
    folder.write("a.yaml", &route("a").replace("revalidate: 5", "revalidat: 5"));
    folder.write("b.yaml", &route("b").replace("revalidate: 5", "revalidate: 7"));
    let changes = folder.reload();
    assert_eq!(changes.problems.len(), 1);
    let problem = &changes.problems[0];
    assert_eq!(problem.words, "unknown field \"spec.rules[0].revalidat\"");
    assert_eq!(problem.place.unwrap().line, 4);
    assert_eq!(problem.remedy.as_deref(), Some("did you mean `revalidate`?"));
    assert_eq!(names(&changes.routes), ["b"], "the other file applies");
    assert!(changes.routes_gone.is_empty());

    let again = folder.reload();
    assert!(again.problems.is_empty() && !again.any(), "said once: {again:?}");

    folder.write("a.yaml", &route("a"));
    let changes = folder.reload();
    assert_eq!(changes.mended.len(), 1);
    assert!(!changes.any());
}

#[test]
fn removing_a_file_removes_its_objects() {
    let mut folder = Folder::with(&[("a.yaml", &route("a")), ("b.yaml", REQUEST)]);
    folder.start();
    fs::remove_file(folder.folder.path().join("b.yaml")).unwrap();
    assert_eq!(folder.reload().requests_gone, ["cms-b-1"]);
    fs::remove_file(folder.folder.path().join("a.yaml")).unwrap();
    let changes = folder.reload();
    assert_eq!(changes.routes_gone, ["a"]);
    assert_eq!(changes.problems, []);
}

#[test]
fn one_name_is_one_object() {
    let mut folder = Folder::with(&[("a.yaml", &route("a")), ("b.yaml", &route("a"))]);
    let changes = folder.start();
    assert_eq!(changes.problems.len(), 1);
    assert!(
        changes.problems[0].words.contains("is there already, in "),
        "{}",
        changes.problems[0]
    );
    assert!(changes.problems[0].file.ends_with("b.yaml"));
}

#[test]
fn the_only_namespace_counts_and_several_are_an_error() {
    let shop = route("a").replace("{name: a}", "{name: a, namespace: shop}");
    let mut folder = Folder::with(&[("a.yaml", &shop), ("b.yaml", &route("b"))]);
    let changes = folder.start();
    assert_eq!(folder.manifests.namespace(), "shop");
    assert!(
        changes
            .routes
            .iter()
            .all(|r| r.metadata.namespace.as_deref() == Some("shop"))
    );

    folder.write(
        "b.yaml",
        &route("b").replace("{name: b}", "{name: b, namespace: blog}"),
    );
    let changes = folder.reload();
    assert_eq!(changes.problems.len(), 1);
    assert!(!changes.any());

    let mut again = Manifests::new(vec![folder.folder.path().to_owned()], None);
    let changes = again.reload(Timestamp::now(), true);
    assert_eq!(changes.problems.len(), 2);
    assert_eq!(
        changes.problems[0].remedy.as_deref(),
        Some("choose one with --namespace: blog, shop")
    );

    let mut chosen = Manifests::new(vec![folder.folder.path().to_owned()], Some("blog".to_owned()));
    let changes = chosen.reload(Timestamp::now(), true);
    assert_eq!((names(&changes.routes), changes.foreign), (vec!["b"], 1));
}

#[test]
fn what_only_the_engine_sees_is_a_problem_with_its_line() {
    let text = route("a").replace("['/a']", "['/a/[...rest]/b']");
    let changes = Folder::with(&[("a.yaml", &text)]).start();
    assert!(!changes.problems.is_empty());
    assert_eq!(
        changes.problems[0].place.unwrap().line,
        4,
        "{}",
        changes.problems[0]
    );
    assert!(
        changes.problems[0]
            .words
            .starts_with("spec.rules[0].paths[0]: Invalid value: "),
        "{}",
        changes.problems[0]
    );
}

#[test]
fn missing_paths_are_problems_at_the_start() {
    let mut manifests = Manifests::new(vec!["/nonexistent/a.yaml".into()], None);
    assert_eq!(manifests.reload(Timestamp::now(), true).problems.len(), 1);
}

#[test]
fn lists_are_opened() {
    let indented = route("a").replace('\n', "\n  ");
    let text = format!("apiVersion: v1\nkind: List\nitems:\n- {}", indented.trim_end());
    let changes = Folder::with(&[("a.yaml", &text)]).start();
    assert_eq!(changes.problems, []);
    assert_eq!(names(&changes.routes), ["a"]);
}
