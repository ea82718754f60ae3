//! Env files, in the dialect that docker compose and the dotenv libraries share:
//!
//! - `NAME=value`, with or without `export` in front; empty lines; lines that begin with `#`.
//! - Unquoted: to the end of the line without the white space around it; ` #` begins a comment.
//! - `'…'`: as it is, over several lines too; only `\'` is an escape.
//! - `"…"`: the same with `\n`, `\r`, `\t`, `\\`, `\"` and `\$`; other backslashes stay.
//! - Nothing is expanded: `$NAME` and `${NAME}` are text. Only `${bws://REF}` means something, later.
//!
//! A line `UUID > NAME`, as Bitwarden's GitHub Action has it, maps a secret's id to a name.
//! A byte order mark is skipped, and lines may end in CRLF.

use crate::env::{Assigned, Assignment, Template};
use crate::ids::SecretId;

/// What is wrong with a file, and where. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub column: usize,
    pub problem: String,
}

/// Reads a whole file. The value of an assignment never appears in a fault.
pub fn parse(text: &str) -> Result<Vec<Assignment>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { text, at: 0 };
    let mut assignments = Vec::new();
    loop {
        reader.skip(|c| c.is_whitespace());
        match reader.peek() {
            None => return Ok(assignments),
            Some('#') => reader.skip(|c| c != '\n'),
            Some(_) => assignments.push(reader.assignment()?),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, while_true: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !while_true(c)).unwrap_or(rest.len());
    }

    fn take(&mut self, while_true: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        self.skip(while_true);
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn fault(&self, at: usize, problem: impl Into<String>) -> Fault {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Fault {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            problem: problem.into(),
        }
    }

    fn assignment(&mut self) -> Result<Assignment, Fault> {
        if let Some(mapping) = self.action_mapping()? {
            return Ok(mapping);
        }
        self.skip_export();
        let start = self.at;
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.fault(
                start,
                "a line is NAME=value; a name has letters, digits and '_', and no digit first",
            ));
        }
        self.skip(is_blank);
        if self.peek() != Some('=') {
            // What stands here may be a line of a value that lacks its quotes: it is not shown.
            return Err(
                self.fault(self.at, "there is no '=' after the name; a value of several lines needs quotes")
            );
        }
        self.at += 1;
        self.skip(is_blank);
        let value_start = self.at;
        let value = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.unquoted(),
        };
        if let Some(nul) = value.find('\0') {
            return Err(self.fault(value_start + nul, format!("the value of {name} contains a NUL byte")));
        }
        let value = match Template::parse(&value) {
            Ok(Some(template)) => Assigned::Template(template),
            Ok(None) => Assigned::Text(value),
            Err(problem) => {
                return Err(self.fault(value_start, format!("in the reference of {name}: {problem}")));
            }
        };
        let line = self.fault(start, "").line;
        Ok(Assignment { name: name.into(), value, line })
    }

    fn skip_export(&mut self) {
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.at += "export".len();
            self.skip(is_blank);
        }
    }

    /// `UUID > NAME`; whatever follows a second `>` is ignored, as the action does.
    fn action_mapping(&mut self) -> Result<Option<Assignment>, Fault> {
        let line = self.rest().split('\n').next().unwrap_or_default();
        let Some((id, rest)) = line.split_once('>') else { return Ok(None) };
        let Ok(id) = id.trim().parse::<SecretId>() else { return Ok(None) };
        let name = rest.split('>').next().unwrap_or_default().trim();
        if name.is_empty() || name.contains(|c: char| c == '=' || c == '\0' || c.is_whitespace()) {
            return Err(self.fault(self.at, format!("after '{id} >' there must be the name of a variable")));
        }
        let template =
            Template::reference(&id.to_string()).map_err(|problem| self.fault(self.at, problem))?;
        let number = self.fault(self.at, "").line;
        self.at += line.len();
        Ok(Some(Assignment { name: name.into(), value: Assigned::Template(template), line: number }))
    }

    fn unquoted(&mut self) -> String {
        let line = self.take(|c| c != '\n');
        // A '#' within a word belongs to it: `bws://KEY#/pointer`, `https://host/#part`.
        let comment = line.char_indices().find(|&(at, c)| {
            c == '#' && line.get(..at).is_some_and(|before| before.is_empty() || before.ends_with(is_blank))
        });
        let value = comment.map_or(line, |(at, _)| line.get(..at).unwrap_or_default());
        value.trim_end().to_owned()
    }

    fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.fault(start, format!("this {quote} is never closed")));
            };
            self.at += c.len_utf8();
            match c {
                c if c == quote => break,
                '\\' => self.escape(quote, &mut value),
                // Git on Windows turns line ends around; a value's lines end as they do elsewhere.
                '\r' if self.peek() == Some('\n') => {}
                c => value.push(c),
            }
        }
        self.skip(is_blank);
        match self.peek() {
            None | Some('\n' | '#') => self.skip(|c| c != '\n'),
            Some('\r') if self.rest().starts_with("\r\n") || self.rest() == "\r" => {}
            Some(_) => {
                return Err(
                    self.fault(self.at, format!("after the closing {quote} only a comment may follow"))
                );
            }
        }
        Ok(value)
    }

    fn escape(&mut self, quote: char, value: &mut String) {
        let next = self.peek();
        let escaped = match (quote, next) {
            (_, Some(c)) if c == quote => Some(c),
            ('"', Some('n')) => Some('\n'),
            ('"', Some('r')) => Some('\r'),
            ('"', Some('t')) => Some('\t'),
            ('"', Some(c @ ('\\' | '$'))) => Some(c),
            _ => None,
        };
        match escaped {
            Some(c) => {
                value.push(c);
                self.at += 1;
            }
            None => value.push('\\'),
        }
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Vec<(String, String)> {
        let assignments = parse(text).unwrap_or_else(|fault| panic!("{text:?}: {fault:?}"));
        assignments
            .into_iter()
            .map(|assignment| match assignment.value {
                Assigned::Text(value) => (assignment.name, value),
                Assigned::Template(template) => (assignment.name, format!("{template:?}")),
            })
            .collect()
    }

    fn one(text: &str) -> String {
        plain(text).remove(0).1
    }

    #[test]
    fn unquoted_values() {
        for (text, expected) in [
            ("A=b", "b"),
            ("A=", ""),
            ("  A = b c  ", "b c"),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=# comment", ""),
            ("A= # comment", ""),
            ("A=$HOME ${HOME}", "$HOME ${HOME}"),
            ("A=b\\n", "b\\n"),
            ("A=it's", "it's"),
            ("A=b=c", "b=c"),
            ("A=b\r\n", "b"),
            ("\u{feff}A=b", "b"),
            ("# x\n\n  # y\nA=b", "b"),
        ] {
            assert_eq!(one(text), expected, "{text:?}");
        }
        assert_eq!(plain("export=1")[0].0, "export");
        assert_eq!(plain("A=1\nB=2\r\nA=3").len(), 3);
    }

    #[test]
    fn quoted_values() {
        for (text, expected) in [
            ("A='b # c'", "b # c"),
            ("A='b\\nc'", "b\\nc"),
            ("A='it\\'s'", "it's"),
            ("A='two\nlines'", "two\nlines"),
            ("A=\"b # c\" # comment", "b # c"),
            ("A=\"a\\n\\r\\t\\\\\\\"\\$\\x\"", "a\n\r\t\\\"$\\x"),
            ("A=\"two\r\nlines\"\r\n", "two\nlines"),
            ("A=\"\"", ""),
            ("A=''", ""),
        ] {
            assert_eq!(one(text), expected, "{text:?}");
        }
        assert_eq!(plain("A='x'\nB=\"y\"#z\nC=w").len(), 3);
    }

    #[test]
    fn references_and_lines_of_the_action() {
        let assignments = parse("A=bws://web/DB#/user\nB=\"x${bws://K|urlencode}\"").unwrap();
        assert!(assignments.iter().all(|assignment| matches!(assignment.value, Assigned::Template(_))));
        let id = "ec2c1d46-6a4b-4751-a310-af9601317f2d";
        let mapped = parse(&format!("  {id} > DB_URL > ignored\n\n{id}>OTHER\r\n")).unwrap();
        let names: Vec<(&str, usize)> = mapped.iter().map(|a| (a.name.as_str(), a.line)).collect();
        assert_eq!(names, [("DB_URL", 1), ("OTHER", 3)]);
    }

    #[test]
    fn faults_name_the_place() {
        for (text, line, column) in [
            ("A=1\n1B=2", 2, 1),
            ("A", 1, 2),
            ("A=1\n  B C=2", 2, 5),
            ("A-B=1", 1, 2),
            ("=1", 1, 1),
            ("A=1\nB='x", 2, 3),
            ("A=\"x\" y", 1, 7),
            ("ü=1", 1, 1),
            ("A=a\0b", 1, 4),
            ("A=\"ü\"\nB=${bws://x", 2, 3),
            ("ec2c1d46-6a4b-4751-a310-af9601317f2d > ", 1, 1),
        ] {
            let fault = parse(text).expect_err(text);
            assert_eq!((fault.line, fault.column), (line, column), "{text:?}: {}", fault.problem);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_parsed(text in "([A-C]=|'|\"|\\\\|#|\n|\r| |\\$\\{bws://|\\}|export |\\PC){0,30}") {
            let _ = parse(&text);
        }

        #[test]
        fn quoting_round_trips(value in "[^\0\r]{0,20}") {
            prop_assume!(!value.contains("bws://"));
            let double = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            prop_assert_eq!(one(&format!("A=\"{double}\"")), value);
        }
    }
}
