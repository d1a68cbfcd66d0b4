//! A scenario as ksp's manifest: one template that all scenarios share, then the scenario's own values.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use toml_edit::{DocumentMut, Item, TableLike};

use crate::component::Component;
use crate::scenario::Scenario;
use crate::{mirror, paths};

/// `scenarios/manifest.toml.jinja`, filled in and overridden.
pub fn render(scenario: &Scenario) -> Result<String> {
    let path = paths::lab().join("scenarios/manifest.toml.jinja");
    let template =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let versions = Component::all()?.into_iter().map(|c| (c.name.replace('-', "_"), c.version)).collect();
    fill(&template, scenario, &versions).with_context(|| path.display().to_string())
}

fn fill(template: &str, scenario: &Scenario, versions: &BTreeMap<String, String>) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    environment.set_syntax(syntax.build()?);
    let nodes: Vec<_> = scenario.nodes.iter().filter(|node| !node.spare).collect();
    let text = environment.render_str(
        template,
        context! {
            name => scenario.name.as_str(),
            endpoint => scenario.endpoint()?,
            nodes => value(serde_json::to_value(&nodes)?),
            user => scenario.user.as_str(),
            vars => value(serde_json::to_value(&scenario.vars)?),
            versions => Value::from(versions.clone()),
            files => mirror::files(),
            registry => mirror::registry(),
        },
    )?;
    let mut document: DocumentMut = text.parse().context("the filled-in template is not TOML")?;
    override_with(&mut document, scenario)?;
    Ok(document.to_string())
}

/// Data as the template engine knows it.
fn value(data: serde_json::Value) -> Value {
    match data {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(yes) => Value::from(yes),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::from(number.as_f64()), Value::from)
        }
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => items.into_iter().map(value).collect(),
        serde_json::Value::Object(entries) => {
            Value::from(entries.into_iter().map(|(key, item)| (key, value(item))).collect::<BTreeMap<_, _>>())
        }
    }
}

fn override_with(document: &mut DocumentMut, scenario: &Scenario) -> Result<()> {
    let own: DocumentMut = toml::to_string(&scenario.manifest)?.parse()?;
    merge(document.as_table_mut(), own.as_table());
    for (stage, values) in &scenario.stage_config {
        let own: DocumentMut = toml::to_string(values)?.parse()?;
        let stages = document.get_mut("stage").and_then(Item::as_array_of_tables_mut).context("no stages")?;
        let named = |table: &&mut toml_edit::Table| table.get("use").and_then(Item::as_str) == Some(stage);
        let Some(table) = stages.iter_mut().find(named) else {
            bail!("there is no stage `{stage}` to configure")
        };
        let config = table.entry("config").or_insert_with(toml_edit::table);
        merge(
            config.as_table_like_mut().with_context(|| format!("{stage}: config is no table"))?,
            own.as_table(),
        );
    }
    Ok(())
}

/// In one line: a table that came into the middle of a document would be written elsewhere.
fn inline(item: &Item) -> Item {
    item.clone().into_value().map_or_else(|other| other, Item::Value)
}

/// Tables are merged, everything else is replaced.
fn merge(into: &mut dyn TableLike, from: &dyn TableLike) {
    for (key, value) in from.iter() {
        if let (Some(into), Some(from)) =
            (into.get_mut(key).and_then(Item::as_table_like_mut), value.as_table_like())
        {
            merge(into, from);
        } else {
            into.insert(key, inline(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn every_scenario_becomes_a_manifest() {
        for scenario in Scenario::all().unwrap() {
            let manifest = parsed(&render(&scenario).unwrap());
            assert_eq!(manifest["cluster"]["name"].as_str(), Some(scenario.name.as_str()));
            let nodes = manifest["node"].as_array().unwrap();
            assert_eq!(nodes.len(), scenario.nodes.iter().filter(|node| !node.spare).count());
            assert_eq!(nodes[0]["address"].as_str().unwrap(), scenario.nodes[0].address.to_string());
            assert_eq!(manifest["stage"][0]["use"].as_str(), Some("ksp/preflight"));
            assert_eq!(manifest["mirrors"]["checksums"].as_str(), Some("SHA256SUMS"));
        }
    }

    #[test]
    fn a_scenario_overrides_what_it_names_and_nothing_else() {
        let text = r#"
            [[node]]
            name = "a"
            address = "10.89.7.9"
            roles = ["control-plane"]
            [manifest.cluster]
            pod-cidr = "10.1.0.0/16"
            [stage-config."x/y"]
            colour = "blue"
            flags = { deep = "1" }
        "#;
        let mut scenario = Scenario::parse("s", text).unwrap();
        let template = "[cluster]\nname = '{{ name }}'\npod-cidr = 'p'\n[[stage]]\nuse = 'x/y'\n[stage.config]\nsize = 1\n[[stage]]\nuse = 'z'\n[stage.config]\nsize = 2\n";
        let manifest = parsed(&fill(template, &scenario, &BTreeMap::new()).unwrap());
        assert_eq!(manifest["cluster"]["name"].as_str(), Some("s"));
        assert_eq!(manifest["cluster"]["pod-cidr"].as_str(), Some("10.1.0.0/16"));
        assert_eq!(manifest["stage"][0]["config"]["size"].as_integer(), Some(1));
        assert_eq!(manifest["stage"][0]["config"]["colour"].as_str(), Some("blue"));
        assert_eq!(manifest["stage"][0]["config"]["flags"]["deep"].as_str(), Some("1"));
        assert_eq!(manifest["stage"][1]["config"]["size"].as_integer(), Some(2));

        scenario.stage_config.insert("no/such".into(), toml::Table::new());
        let error = fill(template, &scenario, &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("no/such"));
    }
}
