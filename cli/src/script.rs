//! [`Script`], a text of SQL cut into its statements.
//!
//! Cutting needs quotes and comments only, no grammar: so a statement that does not parse still has
//! a line, and the statements before it have run. The shell asks it whether Enter ends a statement.

/// A text of SQL, cut at its semicolons.
#[derive(Debug)]
pub struct Script<'a> {
    text: &'a str,
    pieces: Vec<Piece>,
    unfinished: bool,
}

/// Where a statement stands in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Piece {
    start: usize,
    end: usize,
    comments: Vec<(usize, usize)>,
}

/// One statement of a [`Script`].
#[derive(Debug, Clone, Copy)]
pub struct ScriptStatement<'a> {
    script: &'a str,
    piece: &'a Piece,
}

impl<'a> ScriptStatement<'a> {
    /// Returns the statement without its semicolon.
    pub fn text(&self) -> &'a str {
        self.script[self.piece.start..self.piece.end].trim_end()
    }

    /// Returns the line on which the statement begins, counted from 1.
    pub fn line(&self) -> usize {
        self.script[..self.piece.start].matches('\n').count() + 1
    }

    /// Returns the statement behind blanks, so that a parser counts lines and columns as the
    /// script does.
    pub fn padded(&self) -> String {
        let before = &self.script[..self.piece.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let columns = before[line_start..].chars().count();
        format!("{}{}{}", "\n".repeat(self.line() - 1), " ".repeat(columns), self.text())
    }

    /// Returns the line comments that stand before the statement, without their dashes.
    pub fn comments(&self) -> impl Iterator<Item = &'a str> {
        let script = self.script;
        self.piece.comments.iter().map(move |(start, end)| script[*start..*end].trim())
    }
}

impl<'a> Script<'a> {
    /// Cuts a text at the semicolons that stand outside quotes and comments.
    pub fn new(text: &'a str) -> Self {
        let mut cutter = Cutter { text, at: 0, piece: Piece::default(), begun: false };
        let (mut pieces, mut open) = (vec![], false);
        while let Some(token) = cutter.next_token() {
            open |= token == Token::Unclosed;
            if token == Token::Semicolon {
                pieces.extend(cutter.finish_piece());
            }
        }
        let last = cutter.finish_piece();
        let unfinished = open || last.is_some();
        pieces.extend(last);
        Script { text, pieces, unfinished }
    }

    /// Returns the statements in order; the last one may lack its semicolon.
    pub fn statements(&self) -> impl Iterator<Item = ScriptStatement<'_>> {
        self.pieces.iter().map(|piece| ScriptStatement { script: self.text, piece })
    }

    /// Says whether something follows the last semicolon, or a quote or comment is open.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Blank,
    Comment,
    Semicolon,
    Text,
    Unclosed,
}

struct Cutter<'a> {
    text: &'a str,
    at: usize,
    piece: Piece,
    begun: bool,
}

impl Cutter<'_> {
    /// Reads one token: a quoted text, a comment, or a single character.
    fn next_token(&mut self) -> Option<Token> {
        let start = self.at;
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let (length, token) = if rest.starts_with("--") {
            let length = rest.find('\n').unwrap_or(rest.len());
            if !self.begun {
                self.piece.comments.push((start + 2, start + length));
            }
            (Some(length), Token::Comment)
        } else if rest.starts_with("/*") {
            (block_comment(rest), Token::Comment)
        } else if matches!(first, '\'' | '"' | '`') {
            (quoted(rest, first, first == '\'' && self.escapes()), Token::Text)
        } else if let Some(tag) = dollar_tag(rest) {
            (rest[tag.len()..].find(tag).map(|at| at + 2 * tag.len()), Token::Text)
        } else if first == ';' {
            (Some(1), Token::Semicolon)
        } else if first.is_whitespace() {
            (Some(first.len_utf8()), Token::Blank)
        } else {
            (Some(first.len_utf8()), Token::Text)
        };
        self.at = start + length.unwrap_or(rest.len());
        if token == Token::Text {
            if !self.begun {
                self.begun = true;
                self.piece.start = start;
            }
            self.piece.end = self.at;
        }
        Some(if length.is_none() { Token::Unclosed } else { token })
    }

    /// Says whether the quote at hand opens an `E'..'` literal, in which a backslash escapes.
    fn escapes(&self) -> bool {
        let mut before = self.text[..self.at].chars().rev();
        matches!(before.next(), Some('e' | 'E'))
            && !before.next().is_some_and(|c| c.is_alphanumeric() || c == '_')
    }

    fn finish_piece(&mut self) -> Option<Piece> {
        let piece = std::mem::take(&mut self.piece);
        std::mem::take(&mut self.begun).then_some(piece)
    }
}

/// Returns the length of a block comment, which may hold others.
fn block_comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    None
}

/// Returns the length of a quoted text; a doubled quote is part of it.
fn quoted(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// Returns the opening `$tag$` of a dollar-quoted text; `$1` is a parameter.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let length = inner.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    let starts_well = !inner.starts_with(|c: char| c.is_ascii_digit());
    (starts_well && inner[length..].starts_with('$')).then(|| &text[..length + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_semicolons_and_keeps_the_last_statement_without_one() {
        assert_eq!(texts("SELECT 1; SELECT 2\n;\nSELECT 3"), ["SELECT 1", "SELECT 2", "SELECT 3"]);
    }

    #[test]
    fn semicolons_in_quotes_and_comments_do_not_cut() {
        for text in [
            "SELECT ';', 'it''s;', \"a;\"\"b\", `c;`",
            "SELECT E'a\\';b'",
            "SELECT 1 -- one; two\n+ 2",
            "SELECT /* a; /* b; */ c; */ 1",
            "SELECT $$a;b$$, $tag$c;$$;$tag$",
        ] {
            assert_eq!(texts(text), [text]);
            assert_eq!(texts(&format!("{text}; SELECT 2")), [text, "SELECT 2"]);
        }
    }

    #[test]
    fn a_backslash_is_an_ordinary_character_of_a_plain_literal() {
        assert_eq!(texts(r"SELECT '\'; SELECT 2"), [r"SELECT '\'", "SELECT 2"]);
    }

    #[test]
    fn parameters_are_not_dollar_quotes() {
        assert_eq!(texts("SELECT $1; SELECT $2"), ["SELECT $1", "SELECT $2"]);
    }

    #[test]
    fn empty_statements_and_comments_are_no_statements() {
        assert_eq!(texts(" ;; -- nothing\n ; /* here */"), Vec::<String>::new());
    }

    #[test]
    fn text_after_the_last_semicolon_is_unfinished() {
        for text in ["SELECT 1", "SELECT 1; SELECT", "SELECT 'a;", "SELECT 1; /* open"] {
            assert!(Script::new(text).is_unfinished(), "{text}");
        }
        for text in ["", "SELECT 1;", "SELECT 1; -- done", "SELECT 1;\n\n"] {
            assert!(!Script::new(text).is_unfinished(), "{text}");
        }
    }

    #[test]
    fn padding_keeps_line_and_column() {
        let script = Script::new("-- head\nSELECT 1;  SELECT\n  2;");
        let second = script.statements().nth(1).unwrap();
        assert_eq!(second.line(), 2);
        assert_eq!(second.padded(), format!("\n{}SELECT\n  2", " ".repeat(11)));
    }

    #[test]
    fn comments_belong_to_the_statement_after_them() {
        let script =
            Script::new("-- first\n-- error: x\nSELECT 1 -- inside\n; --second\nSELECT 2;");
        let comments: Vec<Vec<_>> = script.statements().map(|s| s.comments().collect()).collect();
        assert_eq!(comments, [vec!["first", "error: x"], vec!["second"]]);
    }

    fn texts(text: &str) -> Vec<String> {
        Script::new(text).statements().map(|s| s.text().to_string()).collect()
    }
}
