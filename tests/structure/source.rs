//! Parses the modules, items and paths of a source file, and no more of the language than that requires.

use std::collections::{BTreeMap, BTreeSet};

/// A `use`: the path, and its local name (`*` for all items).
pub struct Import {
    pub path: Vec<String>,
    pub name: String,
    /// Whether it is `pub use`, with any visibility.
    pub reexport: bool,
}

/// The text of one module.
#[derive(Default)]
pub struct Module {
    /// Modules declared here, with the contents of the inline ones.
    pub children: BTreeMap<String, Option<Module>>,
    pub defined: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// All other paths, including those of a single word.
    pub paths: BTreeSet<Vec<String>>,
}

/// Whether code below `#[cfg(test)]` is read.
#[derive(Clone, Copy, PartialEq)]
pub enum TestCode {
    Kept,
    LeftOut,
}

/// Keywords that begin a definition and are followed by its name.
const DEFINES: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];

impl Module {
    pub fn parse(text: &str, test_code: TestCode) -> Self {
        let mut module = Self::default();
        module.read(&tokens(text), test_code);
        module
    }

    /// All paths in the text, including those of imports and inline modules.
    pub fn all_paths(&self) -> Vec<&[String]> {
        let own = self.imports.iter().map(|import| &import.path).chain(&self.paths);
        let inline = self.children.values().flatten().flat_map(Self::all_paths);
        own.filter(|path| !path.is_empty()).map(Vec::as_slice).chain(inline).collect()
    }

    fn read(&mut self, tokens: &[String], test_code: TestCode) {
        let word = |at: usize| tokens.get(at).map_or("", String::as_str);
        let (mut at, mut depth, mut public) = (0, 0, false);
        while at < tokens.len() {
            match word(at) {
                "#" => {
                    let end = at + 1 + group(&tokens[at + 1..]);
                    let tests = |attribute: &[String]| attribute.iter().any(|word| word == "test");
                    let tested = test_code == TestCode::LeftOut
                        && word(at + 2) == "cfg"
                        && word(at + 4) != "not"
                        && tests(&tokens[at..end]);
                    at = if tested { end + item(&tokens[end..]) } else { end };
                    continue;
                }
                "pub" => {
                    public = true;
                    at += 1 + if word(at + 1) == "(" { group(&tokens[at + 1..]) } else { 0 };
                    continue;
                }
                "use" => {
                    let end = at + tokens[at..].iter().position(|word| word == ";").unwrap_or_default();
                    self.import(&tokens[at + 1..end], &[], public);
                    at = end;
                }
                "mod" if word(at + 2) == ";" => drop(self.children.insert(tokens[at + 1].clone(), None)),
                "mod" if word(at + 2) == "{" => {
                    let end = at + 2 + group(&tokens[at + 2..]);
                    let mut inline = Self::default();
                    inline.read(&tokens[at + 3..end - 1], test_code);
                    self.children.insert(tokens[at + 1].clone(), Some(inline));
                    at = end - 1;
                }
                "macro_rules" => drop(self.defined.insert(tokens[at + 2].clone())),
                keyword if depth == 0 && DEFINES.contains(&keyword) => {
                    self.defined.insert(word(at + 1).to_owned());
                }
                "{" => depth += 1,
                "}" => depth -= 1,
                first
                    if is_word(first)
                        && !(word(at.wrapping_sub(1)) == "." && word(at.wrapping_sub(2)) != ".") =>
                {
                    let mut path = vec![first.to_owned()];
                    while word(at + 1) == "::" && is_word(word(at + 2)) {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    self.paths.insert(path);
                }
                _ => {}
            }
            public = false;
            at += 1;
        }
    }

    /// Parses the tree of a `use`, without keyword and semicolon.
    fn import(&mut self, tree: &[String], prefix: &[String], reexport: bool) {
        if tree.is_empty() {
            return;
        }
        let mut path = prefix.to_vec();
        let mut at = 0;
        while at < tree.len() {
            match tree[at].as_str() {
                "{" => {
                    let (mut start, mut depth) = (at + 1, 0);
                    for end in at + 1..tree.len() {
                        match tree[end].as_str() {
                            "," | "}" if depth == 0 => {
                                self.import(&tree[start..end], &path, reexport);
                                start = end + 1;
                            }
                            "{" => depth += 1,
                            "}" => depth -= 1,
                            _ => {}
                        }
                    }
                    return;
                }
                "as" => {
                    let name = tree[at + 1].clone();
                    return self.imports.push(Import { path, name, reexport });
                }
                "::" => {}
                word => path.push(word.to_owned()),
            }
            at += 1;
        }
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(name) = path.last().cloned() {
            self.imports.push(Import { path, name, reexport });
        }
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Length of the group that begins here, up to its closing bracket.
fn group(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Length of the item, field or arm that begins here, up to its semicolon, the end of its body, or its comma.
fn item(tokens: &[String]) -> usize {
    let is_item =
        ["pub", "fn", "use", "mod", "impl", "struct", "enum", "const", "static", "type", "trait", "let"]
            .contains(&tokens.first().map_or("", String::as_str));
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            "}" => return at,
            "{" => return at + group(&tokens[at..]),
            "(" | "[" => at += group(&tokens[at..]),
            _ => at += 1,
        }
    }
    at
}

/// Words and punctuation, without comments, literals and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// Length of the string, character or lifetime that begins here.
fn literal(text: &str) -> Option<usize> {
    let bare = text.trim_start_matches(['b', 'c', 'r']);
    let prefix = text.len() - bare.len();
    let hashes = bare.len() - bare.trim_start_matches('#').len();
    if prefix <= 2 && text[..prefix].ends_with('r') && bare[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let body = prefix + hashes + 1;
        return text[body..].find(&end).map(|at| body + at + end.len());
    }
    if prefix <= 1 && bare.starts_with('"') {
        return Some(prefix + closing(bare, '"'));
    }
    let after = bare.strip_prefix('\'').filter(|_| prefix == 0 || text.starts_with("b'"))?;
    // A lifetime has no closing mark after its first character.
    let mut characters = after.chars();
    let (first, second) = (characters.next()?, characters.next()?);
    if first == '\\' || second == '\'' {
        return Some(prefix + closing(bare, '\''));
    }
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
    Some(prefix + 1 + end)
}

/// Length of a literal with escapes, including both quotation marks.
fn closing(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}
