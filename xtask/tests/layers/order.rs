//! The order of a crate's modules, as ARCHITECTURE.md tells it.

/// Files (`error.rs`) and folders (`truth/`); each may use those before it.
///
/// Files and folders in one row of the table are one step: they may use each other.
pub(crate) struct Order(Vec<(String, usize)>);

impl Order {
    /// Reads the table below the heading "Which modules has `package`?".
    pub(crate) fn of(architecture: &str, package: &str) -> Self {
        let heading = format!("## Which modules has {package}?");
        let section = architecture
            .split(&heading)
            .nth(1)
            .unwrap_or_else(|| panic!("ARCHITECTURE.md lacks `{heading}`"));
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let modules = rows.enumerate().flat_map(|(step, row)| {
            let cell = row.trim_start_matches("| ").split('|').next().unwrap();
            let quoted = cell.split('`').skip(1).step_by(2);
            quoted.map(move |name| (name.to_string(), step)).collect::<Vec<_>>()
        });
        Self(modules.collect())
    }

    /// The module that contains a file, and its step: the longest matching prefix of the path.
    pub(crate) fn of_file(&self, path: &str) -> Option<(&str, usize)> {
        self.longest(|module| match module.strip_suffix('/') {
            Some(_) => path.starts_with(module),
            None => path == module,
        })
    }

    /// The module that a path names (`truth/read/Read`), and its step.
    pub(crate) fn of_use(&self, path: &str) -> Option<(&str, usize)> {
        let path = format!("{path}/");
        self.longest(|module| {
            let folder = module
                .strip_suffix(".rs")
                .map_or(module.to_string(), |stem| format!("{stem}/"));
            path.starts_with(&folder)
        })
    }

    pub(crate) fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(module, _)| module.as_str())
    }

    fn longest(&self, is_it: impl Fn(&str) -> bool) -> Option<(&str, usize)> {
        let found = self.0.iter().filter(|(module, _)| is_it(module));
        found
            .max_by_key(|(module, _)| module.len())
            .map(|(module, step)| (module.as_str(), *step))
    }
}
