//! Tables that become cards on a narrow screen. What turns them into blocks would take their meaning from a screen reader,
//! so each part says its role.

use std::fmt::{self, Display, Write};

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    is_number: bool,
}

pub(super) const fn column(name: &'static str) -> Column {
    Column {
        name,
        is_number: false,
    }
}

pub(super) const fn number(name: &'static str) -> Column {
    Column {
        name,
        is_number: true,
    }
}

impl Column {
    const fn class(self) -> &'static str {
        if self.is_number { " class=n" } else { "" }
    }
}

/// A table with these columns; the first names the row.
pub(super) struct Table<'h, const N: usize> {
    html: &'h mut String,
    columns: [Column; N],
}

impl<'h, const N: usize> Table<'h, N> {
    /// Begins one.
    pub(super) fn begin(
        html: &'h mut String,
        caption: &str,
        columns: [Column; N],
    ) -> Result<Self, fmt::Error> {
        write!(
            html,
            "<div class=scroll><table role=table><caption>{caption}</caption><thead role=rowgroup><tr role=row>"
        )?;
        for column in columns {
            write!(
                html,
                "<th role=columnheader scope=col{}>{}</th>",
                column.class(),
                column.name
            )?;
        }
        html.push_str("</tr></thead>\n<tbody role=rowgroup>\n");
        Ok(Self { html, columns })
    }

    /// Adds a row of cells that are HTML already.
    pub(super) fn row(&mut self, cells: [&dyn Display; N]) -> fmt::Result {
        self.html.push_str("<tr role=row>");
        for (at, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            let (name, class) = (column.name, column.class());
            if at == 0 {
                write!(self.html, "<th role=rowheader scope=row{class}>{cell}</th>")?;
            } else {
                write!(
                    self.html,
                    "<td role=cell{class} data-label=\"{name}\">{cell}</td>"
                )?;
            }
        }
        self.html.push_str("</tr>\n");
        Ok(())
    }

    /// Ends it.
    pub(super) fn end(self) {
        self.html.push_str("</tbody></table></div>\n");
    }
}
