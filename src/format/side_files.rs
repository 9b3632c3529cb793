//! Small files beside a checkpoint's weights that say where it comes from and how it is used. None of them is needed: what
//! cannot be read is left out with a warning.

use std::path::{Component, Path};

use serde_json::{Map, Value as Json};

use super::config_value::{flag_of, number_of, odd};
use super::hf_config::read_small;
use super::model_card::read_card;
use super::python_json::from_python_json;
use crate::model::{Checkpoint, Pooling};

/// Largest of these files; real ones have a few hundred bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Numbers of `generation_config.json` that a GGUF file can hold.
const SAMPLING: [&str; 12] = [
    "top_k",
    "top_p",
    "min_p",
    "xtc_probability",
    "xtc_threshold",
    "temperature",
    "penalty_last_n",
    "penalty_repeat",
    "repetition_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
];
/// Those of them that must be whole.
const WHOLE: [&str; 3] = ["top_k", "penalty_last_n", "mirostat"];
/// Whole numbers up to here (2^53) are exact as floats.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads the entries of a file, or tells why it cannot.
type Read = fn(&Path) -> Result<Map<String, Json>, String>;

/// Reads the model card, the generation settings and the kind of pooling from a folder; `has` says which files are there.
pub(super) fn read_side_files(checkpoint: &mut Checkpoint, folder: &Path, has: &dyn Fn(&str) -> bool) {
    let mut warnings = Vec::new();
    let mut keep = |name: &str, read: Read| {
        if !has(name) {
            return Map::new();
        }
        read(&folder.join(name)).unwrap_or_else(|problem| {
            warnings.push(format!("{name} is left out: {problem}"));
            Map::new()
        })
    };
    checkpoint.card = keep("README.md", read_card);
    checkpoint.generation = keep("generation_config.json", read_object);
    settle_numbers(&mut checkpoint.generation, &mut warnings);
    if let (Some(config), true) = (checkpoint.config.as_mut(), has("modules.json")) {
        match read_pooling(folder) {
            Ok(pooling) => config.pooling = pooling,
            Err(problem) => warnings.push(format!("modules.json is left out: {problem}")),
        }
    }
    checkpoint.warnings.append(&mut warnings);
}

/// Turns the sampling settings into numbers, and leaves out with a warning those that are not.
fn settle_numbers(generation: &mut Map<String, Json>, warnings: &mut Vec<String>) {
    for key in SAMPLING {
        let Some(value) = generation.get_mut(key) else { continue };
        let is_whole = WHOLE.contains(&key);
        let what = match number_of(value) {
            Err(what) => what,
            Ok(Some(number)) if is_whole && (number.fract() != 0.0 || number.abs() > MAX_EXACT) => {
                odd(value, "not a whole number")
            }
            Ok(Some(number)) => {
                if is_whole {
                    *value = whole(number).into();
                } else if value.is_string() {
                    *value = number.into();
                }
                continue;
            }
            Ok(None) => continue,
        };
        warnings.push(format!("generation_config.json says {key} is {what}; it is left out"));
        generation.remove(key);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "checked: it is whole and at most 2^53")]
fn whole(number: f64) -> i64 {
    number as i64
}

fn read_json(path: &Path) -> Result<Json, String> {
    let bytes = read_small(path, "JSON", MAX_BYTES).map_err(|error| error.to_string())?;
    from_python_json(&bytes)
}

fn read_object(path: &Path) -> Result<Map<String, Json>, String> {
    match read_json(path)? {
        Json::Object(entries) => Ok(entries),
        _ => Err("it is not a JSON object".into()),
    }
}

/// How a sentence-transformers model makes one vector out of the vectors of all tokens; `None` where it has no such step.
///
/// Source: `TextModel._try_set_pooling_type` in `conversion/base.py`, llama.cpp of 2026-08-21.
fn read_pooling(folder: &Path) -> Result<Option<Pooling>, String> {
    let modules = read_json(&folder.join("modules.json"))?;
    let is_pooling = |module: &&Json| module["type"].as_str().is_some_and(|kind| kind.ends_with("Pooling"));
    let Some(module) = modules.as_array().and_then(|modules| modules.iter().find(is_pooling)) else { return Ok(None) };
    let name = Path::new(module["path"].as_str().unwrap_or_default());
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err("it names a folder outside the checkpoint".into());
    }
    let settings = read_object(&folder.join(name).join("config.json"))?;
    let is_on = |key: &str| settings.get(key).and_then(|flag| flag_of(flag).ok()?).unwrap_or(false);
    let kind = settings.get("pooling_mode").and_then(Json::as_str).unwrap_or_default();
    for (key, name, pooling) in [
        ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
        ("pooling_mode_cls_token", "cls", Pooling::Cls),
        ("pooling_mode_lasttoken", "lasttoken", Pooling::Last),
    ] {
        if is_on(key) || kind == name {
            return Ok(Some(pooling));
        }
    }
    Err("its kind of pooling is not known".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckpointConfig;

    fn read(files: &[(&str, &str)]) -> Checkpoint {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut checkpoint = Checkpoint { config: Some(CheckpointConfig::default()), ..Checkpoint::default() };
        read_side_files(&mut checkpoint, folder.path(), &|name| folder.path().join(name).exists());
        checkpoint
    }

    #[test]
    fn what_is_there_is_read() {
        let found = read(&[("README.md", "---\nlicense: mit\n---\n"), ("generation_config.json", r#"{"top_k":20}"#)]);
        assert_eq!((found.card["license"].as_str(), found.generation["top_k"].as_u64()), (Some("mit"), Some(20)));
        assert_eq!((found.warnings.len(), found.config.unwrap().pooling), (0, None));
        assert_eq!(read(&[]), Checkpoint { config: Some(CheckpointConfig::default()), ..Checkpoint::default() });
    }

    #[test]
    fn numbers_of_the_generation_are_read_in_every_spelling_or_told() {
        let found = read(&[(
            "generation_config.json",
            r#"{"top_k":"20.0","temperature":"0.7","penalty_last_n":-1,"top_p":1,"min_p":null}"#,
        )]);
        assert_eq!((&found.generation["top_k"], &found.generation["temperature"]), (&Json::from(20), &Json::from(0.7)));
        assert_eq!((found.warnings.len(), &found.generation["penalty_last_n"]), (0, &Json::from(-1)));
        assert_eq!((&found.generation["top_p"], &found.generation["min_p"]), (&Json::from(1), &Json::Null));
        let found = read(&[("generation_config.json", r#"{"penalty_last_n":0.5}"#)]);
        assert_eq!(found.warnings, ["generation_config.json says penalty_last_n is 0.5, not a whole number; it is left out"]);
        let found = read(&[("generation_config.json", r#"{"top_p":NaN,"top_k":"many","mirostat":true,"x":"y"}"#)]);
        assert_eq!(found.generation.keys().collect::<Vec<_>>(), ["x"]);
        assert_eq!(
            found.warnings,
            [
                r#"generation_config.json says top_k is "many", not a number; it is left out"#,
                r#"generation_config.json says top_p is "NaN", not a number; it is left out"#,
                "generation_config.json says mirostat is true, not a number; it is left out",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_told() {
        let check = |name: &str, text: &str, expected: &str| {
            let found = read(&[(name, text)]);
            assert!(found.card.is_empty() && found.generation.is_empty() && found.config.unwrap().pooling.is_none());
            assert!(found.warnings.len() == 1 && found.warnings[0].contains(expected), "{:?}", found.warnings);
        };
        check("README.md", "---\na: [1\n---\n", "README.md is left out: ");
        check("README.md", &" ".repeat(1_100_000), "at most 1048576 are read");
        check("generation_config.json", "[]", "not a JSON object");
        check("generation_config.json", "{", "EOF");
        check("modules.json", "{", "modules.json is left out: EOF");
        check("modules.json", r#"[{"type":"x.Pooling","path":"../y"}]"#, "outside the checkpoint");
        check("modules.json", r#"[{"type":"x.Pooling","path":"/etc"}]"#, "outside the checkpoint");
        check("modules.json", r#"[{"type":"x.Pooling","path":"1_Pooling"}]"#, "1_Pooling");
    }

    #[test]
    fn pooling_is_known() {
        let check = |settings: &str, expected: Option<Pooling>| {
            let modules = r#"[{"type":"x.Transformer","path":""},{"type":"x.Pooling","path":"1_Pooling"}]"#;
            let found = read(&[("modules.json", modules), ("1_Pooling/config.json", settings)]);
            assert_eq!(found.config.unwrap().pooling, expected, "{settings}");
        };
        check(r#"{"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}"#, Some(Pooling::Mean));
        check(r#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}"#, Some(Pooling::Cls));
        check(r#"{"pooling_mode":"lasttoken"}"#, Some(Pooling::Last));
        check(r#"{"pooling_mode_max_tokens":true}"#, None);
    }
}
