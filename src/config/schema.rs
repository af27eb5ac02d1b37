//! The JSON Schema of a file of settings, for editors and for what checks files before they reach a node. Names, meanings and
//! types come from the structs, defaults from the default settings.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{API_VERSION, KIND, NodeConfig};

impl NodeConfig {
    /// The JSON Schema (draft 2020-12) of a file of settings. A file that fits can still break a rule about several settings
    /// at once, or about a range.
    pub fn schema() -> Value {
        // What is not given has its default: nothing is required but the header.
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<NodeConfig>().to_value();
        let mut defaults = serde_json::to_value(NodeConfig::default()).expect("settings can be written as JSON");
        // The name of the machine on which the schema is made is nobody else's.
        defaults["node"]["name"] = Value::Null;
        complete(&mut schema, &defaults);
        schema["required"] = json!(["apiVersion", "kind"]);
        let properties = properties_of(&mut schema).expect("settings are an object");
        properties.insert("apiVersion".to_owned(), json!({ "const": API_VERSION }));
        properties.insert("kind".to_owned(), json!({ "const": KIND }));
        schema
    }
}

/// Gives every setting its default, and takes back that it must be given. Descriptions become paragraphs without the line
/// ends of the source.
fn complete(schema: &mut Value, default: &Value) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    match (schema.get("properties").is_some(), default) {
        (true, Value::Object(defaults)) => {
            let properties = properties_of(schema).expect("it has some");
            for (name, property) in properties {
                complete(property, &defaults[name]);
            }
            schema.as_object_mut().expect("what has properties is an object").remove("required");
        }
        (_, Value::Null) => {}
        (_, default) => schema["default"] = default.clone(),
    }
}

fn properties_of(schema: &mut Value) -> Option<&mut Map<String, Value>> {
    schema.get_mut("properties")?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::{Problem, Sources, load};

    /// The schema of each setting, by its key.
    fn settings(schema: &Value, prefix: &str, all: &mut BTreeMap<String, Value>) {
        for (name, property) in schema["properties"].as_object().expect("it is a section") {
            let key = format!("{prefix}{name}");
            if property.get("properties").is_some() {
                assert_eq!(property["additionalProperties"], json!(false), "{key}");
                settings(property, &format!("{key}."), all);
            } else {
                all.insert(key, property.clone());
            }
        }
    }

    fn all_settings() -> BTreeMap<String, Value> {
        let schema = NodeConfig::schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        let mut all = BTreeMap::new();
        settings(&schema, "", &mut all);
        for header in ["apiVersion", "kind"] {
            all.remove(header).expect("a file says what it is");
        }
        all
    }

    #[test]
    fn it_has_the_settings_that_there_are_with_their_meaning() {
        let all = all_settings();
        assert_eq!(all.keys().cloned().collect::<BTreeSet<_>>(), load::settings());
        for (key, setting) in &all {
            assert!(setting["description"].as_str().is_some_and(|text| !text.is_empty()), "{key}: {setting}");
        }
    }

    /// Defaults and examples have the form that the schema asks for, and the reader takes every example.
    #[test]
    fn defaults_and_examples_fit() {
        let mut examples_seen = 0;
        for (key, setting) in all_settings() {
            let examples = setting["examples"].as_array().cloned().unwrap_or_default();
            for example in &examples {
                examples_seen += 1;
                let variable = format!("QUORATE__{}", key.replace('.', "__").to_uppercase());
                let environment = vec![(variable, example.as_str().expect("it is a text").to_owned())];
                let loaded = NodeConfig::load(&Sources { environment, ..Sources::default() });
                let problems = loaded.err().map(|error| error.problems).unwrap_or_default();
                assert!(!problems.iter().any(|problem| matches!(problem, Problem::Value { .. })), "{problems:?}");
            }
            let Some(pattern) = setting["pattern"].as_str() else { continue };
            assert!(!examples.is_empty(), "{key} has a pattern and no example");
            let pattern = regex::Regex::new(pattern).unwrap();
            for text in examples.iter().chain(setting.get("default")).filter_map(Value::as_str) {
                assert!(pattern.is_match(text), "{key}: {text}");
            }
            for wrong in ["7", "fast", "7 400"] {
                assert!(!pattern.is_match(wrong), "{key}: {wrong:?}");
            }
        }
        assert!(examples_seen > 10, "{examples_seen}");
    }
}
