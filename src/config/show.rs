//! The settings in force, and where each of them came from.

use std::collections::BTreeMap;

use super::{Error, NodeConfig, Origin, Sources, load};

/// Settings, and who set them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: NodeConfig,
    /// Where each setting was given, by its key such as `client.listen`. What is not in here is the default.
    pub origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Joins `sources` and checks the result, as [`NodeConfig::load`] does.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        load::load(sources)
    }

    /// The settings in force as a file that gives exactly these, with a comment behind each value that says where it came from.
    pub fn to_yaml(&self) -> String {
        let lines = self.config.to_yaml();
        let commented: Vec<(&str, Option<String>)> = self.with_origins(&lines);
        let width = commented.iter().filter(|(_, origin)| origin.is_some()).map(|(line, _)| line.chars().count()).max();
        let width = width.unwrap_or(0);
        let line = |(line, origin): (&str, Option<String>)| match origin {
            Some(origin) => format!("{line:width$}  # {origin}\n"),
            None => format!("{line}\n"),
        };
        commented.into_iter().map(line).collect()
    }

    /// Each line, and for that in which a setting begins, its origin. The writer indents sections by two blanks, and what
    /// belongs to a value further or with a dash, so that it has no key that there is.
    fn with_origins<'a>(&self, yaml: &'a str) -> Vec<(&'a str, Option<String>)> {
        const INDENT: usize = 2;
        let settings = load::settings();
        let mut path: Vec<&str> = Vec::new();
        let mut origin = |line: &'a str| {
            let text = line.trim_start_matches(' ');
            let (name, _) = text.split_once(':')?;
            path.truncate((line.len() - text.len()) / INDENT);
            path.push(name);
            let key = path.join(".");
            settings.contains(&key).then(|| self.origin(&key))
        };
        yaml.lines().map(|line| (line, origin(line))).collect()
    }

    fn origin(&self, key: &str) -> String {
        let origin = match self.origins.get(key).unwrap_or(&Origin::Default) {
            Origin::Default if key == "peer.listen" => "default, the port after client.listen".to_owned(),
            Origin::Default if key == "admin.listen" => "default, the second port after client.listen".to_owned(),
            Origin::Default if key == "health.listen" => "default, the third port after client.listen".to_owned(),
            Origin::Default => "default".to_owned(),
            Origin::File { path, line } => format!("{}:{line}", path.display()),
            origin => origin.place(key),
        };
        // A comment ends with its line.
        origin.replace(char::is_control, "?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flag;

    /// Where a value stands is said for every setting; and what is shown is a file that gives the same settings.
    #[test]
    fn every_value_has_its_origin_and_can_be_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("node.yaml");
        let text = "apiVersion: quorate.dev/v1\nkind: NodeConfig\nnode:\n  data_dir: \"a\\nname: b\"\ncluster: {join: ['a:1', 'b:2']}\n";
        std::fs::write(&file, text).unwrap();
        let environment = vec![("QUORATE__LOG__FORMAT".to_owned(), "json".to_owned())];
        let flags = vec![Flag { flag: "listen", key: "client.listen", value: "[::1]:80".to_owned() }];
        let loaded = Loaded::load(&Sources { files: vec![file.clone()], environment, flags }).unwrap();
        let shown = loaded.to_yaml();
        let origin_of = |line: &str| {
            let found = shown.lines().find(|found| found.trim_start().starts_with(line));
            let found = found.unwrap_or_else(|| panic!("{line} is not in:\n{shown}"));
            found.split_once("  # ").map(|(_, origin)| origin.to_owned())
        };
        assert_eq!(origin_of("data_dir:"), Some(format!("{}:4", file.display())));
        assert_eq!(origin_of("join:"), Some(format!("{}:5", file.display())));
        assert_eq!(origin_of("format: json").as_deref(), Some("QUORATE__LOG__FORMAT"));
        assert_eq!(origin_of("listen: '[::1]:80'").as_deref(), Some("--listen"));
        assert_eq!(origin_of("drain_deadline:").as_deref(), Some("default"));
        assert_eq!(origin_of("listen: '[::1]:81'").as_deref(), Some("default, the port after client.listen"));
        assert_eq!(origin_of("node:"), None);
        assert_eq!(shown.matches("  # ").count(), load::settings().len(), "{shown}");

        let mut expected = loaded.config;
        expected.peer.listen = Some(expected.peer_listen());
        expected.admin.listen = Some(expected.admin_listen());
        expected.health.listen = Some(expected.health_listen());
        std::fs::write(&file, &shown).unwrap();
        let files = vec![file];
        assert_eq!(NodeConfig::load(&Sources { files, ..Sources::default() }).unwrap(), expected);
    }
}
