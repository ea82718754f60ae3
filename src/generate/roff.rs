//! man(7): the few macros that a page of ours needs.

/// A page that grows.
pub struct Page(String);

impl Page {
    /// No date: one source makes one page.
    pub fn new(name: &str, section: u8, version: &str, manual: &str) -> Self {
        let title = name.to_uppercase();
        let heading =
            [title.as_str(), &section.to_string(), "", &format!("{name} {version}"), manual].map(quoted);
        // No hyphenation and no adjustment: a name that is broken or stretched cannot be copied.
        Self(format!(".TH {}\n.nh\n.ad l\n", heading.join(" ")))
    }

    pub fn section(&mut self, title: &str) -> &mut Self {
        self.line(&format!(".SH {}", quoted(title)))
    }

    pub fn subsection(&mut self, title: &str) -> &mut Self {
        self.line(&format!(".SS {}", quoted(title)))
    }

    /// A paragraph, in the markup of [`marked`].
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        self.line(".PP").text(&marked(text))
    }

    /// Text that is set already.
    pub fn raw(&mut self, text: &str) -> &mut Self {
        self.text(text)
    }

    pub fn paragraphs<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> &mut Self {
        texts.into_iter().fold(self, |page, text| page.paragraph(text))
    }

    /// A term, already set, and what it means.
    pub fn item(&mut self, term: &str, text: &str) -> &mut Self {
        self.line(".TP").text(term).text(&marked(text))
    }

    /// Lines as they are to be typed.
    pub fn example(&mut self, text: &str) -> &mut Self {
        self.line(".PP").line(".in +4n").line(".EX").text(&literal(text)).line(".EE").line(".in")
    }

    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.0)
    }

    fn line(&mut self, line: &str) -> &mut Self {
        self.0 += line;
        self.0.push('\n');
        self
    }

    /// Text that no line of which is taken for a macro.
    fn text(&mut self, text: &str) -> &mut Self {
        for line in text.lines() {
            if line.starts_with(['.', '\'']) {
                self.0 += "\\&";
            }
            self.line(line);
        }
        self
    }
}

pub fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", literal(text))
}

pub fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", literal(text))
}

/// Text that appears as it is, and can be copied from where it appears: no typographic dashes or quotes.
pub fn literal(text: &str) -> String {
    let mut literal = String::new();
    for c in text.chars() {
        match c {
            '\\' => literal += "\\e",
            '-' => literal += "\\-",
            '\'' => literal += "\\(aq",
            '`' => literal += "\\(ga",
            '^' => literal += "\\(ha",
            '~' => literal += "\\(ti",
            '"' => literal += "\\(dq",
            c if c.is_ascii() => literal.push(c),
            c => literal += &format!("\\[u{:04X}]", u32::from(c)),
        }
    }
    literal
}

/// Prose, with what is between backquotes and every `--option` in bold.
fn marked(text: &str) -> String {
    let mut marked = String::new();
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 {
            marked += &bold(part);
            continue;
        }
        for piece in part.split_inclusive([' ', '(', '\n']) {
            let end = piece
                .strip_prefix("--")
                .map(|name| name.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(name.len()));
            match end {
                Some(end) if end > 0 => {
                    marked += &bold(&piece[..end + 2]);
                    marked += &literal(&piece[end + 2..]);
                }
                _ => marked += &literal(piece),
            }
        }
    }
    marked
}

/// An argument of a macro.
fn quoted(text: &str) -> String {
    format!("\"{}\"", literal(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_roff_is_escaped() {
        assert_eq!(literal(r"a\b 'c' ~x -- …"), r"a\eb \(aqc\(aq \(tix \-\- \[u2026]");
        assert_eq!(marked("see (--map), `a-b`"), r"see (\fB\-\-map\fR), \fBa\-b\fR");
        let mut page = Page::new("x", 1, "1", "m");
        let page = page.paragraph(".SH is no macro\n'nor this").finish();
        assert!(page.ends_with(".PP\n\\&.SH is no macro\n\\(aqnor this\n"), "{page}");
    }
}
