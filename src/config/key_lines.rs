//! Line numbers of the keys in a configuration file.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// Line numbers, from 1, by section and key. The key of a section itself is empty.
#[derive(Debug, Default)]
pub(super) struct KeyLines(BTreeMap<(String, String), usize>);

impl KeyLines {
    /// Finds the lines of all keys in a text. Empty if the text is not TOML.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        let Ok(document) = DeTable::parse(text) else { return lines };
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        for (name, value) in document.get_ref() {
            let section = name.get_ref();
            match value.get_ref() {
                DeValue::Table(keys) => lines.add(section, line(name.span().start), "", keys, &line),
                DeValue::Array(items) => {
                    for (number, item) in items.iter().enumerate() {
                        if let DeValue::Table(keys) = item.get_ref() {
                            let section = format!("{section}[{number}]");
                            lines.add(&section, line(item.span().start), "", keys, &line);
                        }
                    }
                }
                _ => drop(lines.0.insert((section.to_string(), String::new()), line(name.span().start))),
            }
        }
        lines
    }

    /// The line of the key, or of its section if the key is not in the file.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<usize> {
        let line = |key: &str| self.0.get(&(section.to_owned(), key.to_owned())).copied();
        line(key).or_else(|| line(""))
    }

    /// Adds the keys of a table. `prefix` is the path of an inner table, such as `properties.`.
    fn add(
        &mut self,
        section: &str,
        begins: usize,
        prefix: &str,
        keys: &DeTable<'_>,
        line: &impl Fn(usize) -> usize,
    ) {
        self.0.insert((section.to_owned(), prefix.trim_end_matches('.').to_owned()), begins);
        for (key, value) in keys {
            let (name, at) = (format!("{prefix}{}", key.get_ref()), line(key.span().start));
            match value.get_ref() {
                DeValue::Table(inner) => self.add(section, at, &format!("{name}."), inner, line),
                _ => drop(self.0.insert((section.to_owned(), name), at)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_inner_tables_and_list_items_have_their_lines() {
        let text = "wal.dir = \"x\"\n\n[server]\nlisten = 1\ntls = {\n}\n[kafka]\n[kafka.properties]\n\"a.b\" = 1\n\
                    [[kinds]]\nname = \"a\"\n\n[[kinds]]\ntopic = \"b\"\nname = \"c\"\n";
        let lines = KeyLines::of(text);
        for (section, key, line) in [
            ("wal", "dir", 1),
            ("server", "", 3),
            ("server", "listen", 4),
            ("server", "absent", 3),
            ("kafka", "properties", 8),
            ("kafka", "properties.a.b", 9),
            ("kinds[0]", "name", 11),
            ("kinds[1]", "", 13),
            ("kinds[1]", "topic", 14),
            ("kinds[1]", "absent", 13),
        ] {
            assert_eq!(lines.get(section, key), Some(line), "[{section}] {key}");
        }
        assert_eq!(lines.get("redis", "url"), None);
        assert_eq!(KeyLines::of("= 1").get("", ""), None);
    }
}
