//! The source files of a crate, and which modules of the crate each of them uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The code of a file of `src`, without comments and without code for tests.
pub(crate) struct Source {
    /// Relative to `src`, with `/` between folders.
    pub(crate) path: String,
    pub(crate) code: String,
}

impl Source {
    /// Every file of a crate whose `src` is `root`, without modules for tests.
    pub(crate) fn all_of(root: &Path) -> Vec<Self> {
        let mut files = Vec::new();
        collect(root, &mut files);
        let test_only = test_modules(&files);
        files.retain(|path| !test_only.iter().any(|test| path.starts_with(test)));
        let read = |path: PathBuf| {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            Self::new(&relative, &fs::read_to_string(&path).unwrap())
        };
        files.into_iter().map(read).collect()
    }

    pub(crate) fn new(path: &str, text: &str) -> Self {
        let without_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        Self {
            path: path.to_string(),
            code: without_tests.lines().filter(is_code).collect::<Vec<_>>().join("\n"),
        }
    }

    /// Whether it is the root of the crate, which names every module.
    pub(crate) fn is_root(&self) -> bool {
        ["lib.rs", "main.rs"].contains(&self.path.as_str())
    }

    /// The paths of this crate that the file names, from the root on: `truth/read/Read` for `crate::truth::read::Read`.
    pub(crate) fn uses(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (start, _) in self.code.match_indices("crate::") {
            if !continues_a_word(&self.code, start) {
                paths("", &self.code[start + "crate::".len()..], &mut found);
            }
        }
        for (start, _) in self.code.match_indices("super::") {
            let is_first = !self.code[..start].ends_with("super::") && !continues_a_word(&self.code, start);
            if is_first {
                let mut rest = &self.code[start..];
                let mut module = self.module();
                while let Some(after) = rest.strip_prefix("super::") {
                    module = module
                        .rsplit_once('/')
                        .map_or(String::new(), |(parent, _)| parent.to_string());
                    rest = after;
                }
                paths(&module, rest, &mut found);
            }
        }
        found
    }

    /// The path of the module that the file holds: `truth` for `truth/mod.rs`.
    fn module(&self) -> String {
        let path = self.path.trim_end_matches(".rs");
        path.strip_suffix("/mod").unwrap_or(path).to_string()
    }
}

fn continues_a_word(code: &str, start: usize) -> bool {
    code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$')
}

/// The paths at the start of `text`, each after `module`; a list in braces has several.
fn paths(module: &str, text: &str, found: &mut BTreeSet<String>) {
    let joined = |name: &str| match module {
        "" => name.to_string(),
        _ => format!("{module}/{name}"),
    };
    if let Some(list) = text.strip_prefix('{') {
        for item in items_of(list) {
            paths(module, item, found);
        }
        return;
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match rest.strip_prefix("::") {
        Some(rest) if !name.is_empty() => paths(&joined(name), rest, found),
        // `self` within braces, `*` and a generic argument after `::` name the module itself.
        _ if name.is_empty() || name == "self" => {
            found.insert(module.to_string());
        }
        // Macros of the crate have no other path.
        _ if rest.starts_with('!') => {}
        _ => {
            found.insert(joined(name));
        }
    }
}

/// The items of a list that ends with its closing brace.
fn items_of(list: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                items.push(list[start..at].trim());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Files and folders of modules that are declared under `#[cfg(test)]`.
fn test_modules(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut modules = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let name = pair[1].split("mod ").nth(1).and_then(|rest| rest.strip_suffix(';'));
            if let ("#[cfg(test)]" | "#[cfg(all(test, loom))]", Some(name)) = (pair[0], name) {
                let dir = match file.file_name().and_then(|name| name.to_str()) {
                    Some("mod.rs" | "lib.rs" | "main.rs") => file.parent().unwrap().to_path_buf(),
                    _ => file.with_extension(""),
                };
                modules.extend([dir.join(format!("{name}.rs")), dir.join(name)]);
            }
        }
    }
    modules
}
