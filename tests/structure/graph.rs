//! Graph of the items that each file uses from other files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::source::{Import, Module, TestCode};

/// A module and its position in the tree.
struct Node {
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    text: Module,
}

/// Target of a path.
enum Target {
    Module(usize),
    /// An item, and the file that defines it.
    Item(String),
}

/// Maximum number of re-exports followed in a chain.
const MAX_STEPS: usize = 16;

#[derive(Default)]
pub struct Graph {
    nodes: Vec<Node>,
    /// File → file it uses → names of the items.
    edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Graph {
    /// Reads the crates with these root files. File names are relative to `top`.
    pub fn read<'a>(top: &Path, roots: impl IntoIterator<Item = &'a str>) -> Self {
        let mut graph = Self::default();
        for root in roots {
            let dir = Path::new(root).parent().unwrap().to_str().unwrap();
            let text = Module::parse(&fs::read_to_string(top.join(root)).unwrap(), TestCode::LeftOut);
            graph.add(top, dir, root.to_owned(), None, text);
        }
        for at in 0..graph.nodes.len() {
            graph.link(at);
        }
        graph
    }

    pub fn files(&self) -> usize {
        self.nodes.iter().map(|node| &node.file).collect::<BTreeSet<_>>().len()
    }

    /// Adds a module. `dir`: the directory of its children's files.
    fn add(&mut self, top: &Path, dir: &str, file: String, parent: Option<usize>, mut text: Module) -> usize {
        let declared = std::mem::take(&mut text.children);
        let at = self.nodes.len();
        self.nodes.push(Node { file: file.clone(), parent, children: BTreeMap::new(), text });
        for (name, inline) in declared {
            let below = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            let (file, text) = match inline {
                Some(text) => (file.clone(), text),
                None => {
                    let candidates = [format!("{below}.rs"), format!("{below}/mod.rs")];
                    let file = candidates.into_iter().find(|file| top.join(file).exists());
                    let file = file.unwrap_or_else(|| panic!("{below} has no file"));
                    let text =
                        Module::parse(&fs::read_to_string(top.join(&file)).unwrap(), TestCode::LeftOut);
                    (file, text)
                }
            };
            let child = self.add(top, &below, file, Some(at), text);
            self.nodes[at].children.insert(name, child);
        }
        at
    }

    /// Adds the edges of one module.
    fn link(&mut self, at: usize) {
        let text = &self.nodes[at].text;
        let imported = text.imports.iter().filter(|import| !import.reexport).map(|import| &import.path);
        // A single word counts if it is a re-export that the file itself uses.
        let reexported = |word: &String| text.imports.iter().any(|it| it.reexport && it.name == *word);
        let named = text.paths.iter().filter(|path| path.len() > 1 || reexported(&path[0]));
        let mut found = Vec::new();
        for path in imported.chain(named) {
            if let Some((item, Target::Item(file))) = self.resolve(at, path, 0)
                && file != self.nodes[at].file
            {
                found.push((file, item));
            }
        }
        let uses = self.edges.entry(self.nodes[at].file.clone()).or_default();
        for (file, item) in found {
            uses.entry(file).or_default().insert(item);
        }
    }

    /// Resolves a path used in a module. Returns the target and the word that led to it, or `None` for other crates.
    fn resolve(&self, from: usize, path: &[String], steps: usize) -> Option<(String, Target)> {
        let mut at = from;
        for (place, word) in path.iter().enumerate() {
            match word.as_str() {
                "crate" => at = self.root(at),
                "self" => {}
                "super" => at = self.nodes[at].parent?,
                word => match self.lookup(at, word, place > 0, steps)? {
                    Target::Module(child) => at = child,
                    item => return Some((word.to_owned(), item)),
                },
            }
        }
        Some((path.last()?.clone(), Target::Module(at)))
    }

    /// Looks up a name in a module. `strict`: the name must belong to the module.
    fn lookup(&self, at: usize, word: &str, strict: bool, steps: usize) -> Option<Target> {
        let node = &self.nodes[at];
        if let Some(child) = node.children.get(word) {
            return Some(Target::Module(*child));
        }
        let here = || Target::Item(node.file.clone());
        if node.text.defined.contains(word) || steps > MAX_STEPS {
            return Some(here());
        }
        let follow = |import: &Import| {
            // A name that is imported as itself belongs to another crate.
            if import.path[0] == word && import.path.len() == 1 {
                return None;
            }
            self.resolve(at, &import.path, steps + 1).map(|(_, target)| target)
        };
        if let Some(import) = node.text.imports.iter().find(|import| import.name == word) {
            return follow(import);
        }
        let globs = node.text.imports.iter().filter(|import| import.name == "*");
        for glob in globs {
            let of = &glob.path[..glob.path.len() - 1];
            if let Some((_, Target::Module(module))) = self.resolve(at, of, steps + 1)
                && self.nodes[module].text.defined.contains(word)
            {
                return Some(Target::Item(self.nodes[module].file.clone()));
            }
        }
        // A name that must exist is defined by a macro.
        strict.then(here)
    }

    fn root(&self, mut at: usize) -> usize {
        while let Some(parent) = self.nodes[at].parent {
            at = parent;
        }
        at
    }

    /// Groups of files that all reach each other, in order of their names.
    pub fn cycles(&self) -> Vec<Vec<String>> {
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|file| (file.as_str(), self.reachable(file))).collect();
        let mut cycles = BTreeSet::new();
        for (file, reached) in &reach {
            let back = |other: &&&str| reach.get(**other).is_some_and(|reached| reached.contains(file));
            let group: Vec<String> = reached.iter().filter(back).map(|&file| file.to_owned()).collect();
            if group.len() > 1 {
                cycles.insert(group);
            }
        }
        cycles.into_iter().collect()
    }

    fn reachable<'a>(&'a self, file: &'a str) -> BTreeSet<&'a str> {
        let (mut reached, mut waiting) = (BTreeSet::new(), vec![file]);
        while let Some(file) = waiting.pop() {
            for next in self.edges.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(next.as_str()) {
                    waiting.push(next);
                }
            }
        }
        reached
    }

    /// Describes a cycle, one line per pair of files.
    pub fn describe(&self, cycle: &[String]) -> String {
        let mut shown = String::new();
        for file in cycle {
            for (used, items) in self.edges[file].iter().filter(|(used, _)| cycle.contains(used)) {
                let items: Vec<_> = items.iter().map(String::as_str).collect();
                shown.push_str(&format!("{file} uses {} of {used}\n", items.join(", ")));
            }
        }
        shown + "\n"
    }
}
