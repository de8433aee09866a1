//! Something wrong in a file, shown where it was written.

use std::{fmt, path::PathBuf};

use crate::yaml::Place;

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it; `None`: the file as a whole.
    pub place: Option<Place>,
    /// What is wrong, starting with the field.
    pub words: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// The text of that line.
    pub line: Option<String>,
}

impl Problem {
    /// Concerns the file as a whole.
    pub(super) fn of_file(file: impl Into<PathBuf>, words: impl Into<String>, remedy: Option<&str>) -> Self {
        Self {
            file: file.into(),
            place: None,
            words: words.into(),
            remedy: remedy.map(str::to_owned),
            line: None,
        }
    }

    /// Without the text of its line, which may hold a secret.
    pub(super) fn discreet(self) -> Self {
        Self { line: None, ..self }
    }
}

impl fmt::Display for Problem {
    /// Several lines: `file:line:column: what`, the line itself, the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.words)?;
        if let (Some(Place { line, column }), Some(text)) = (self.place, &self.line) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let indent: String = text
                .chars()
                .take(column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n  {number} | {text}\n  {margin} | {indent}^")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  remedy: {remedy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_place() {
        let problem = Problem {
            file: "a.yaml".into(),
            place: Some(Place { line: 12, column: 3 }),
            words: "spec.x: Required value".to_owned(),
            remedy: Some("add `x`".to_owned()),
            line: Some("  rules: []".to_owned()),
        };
        assert_eq!(
            problem.to_string(),
            "a.yaml:12:3: spec.x: Required value\n  12 |   rules: []\n     |   ^\n  remedy: add `x`"
        );
    }
}
