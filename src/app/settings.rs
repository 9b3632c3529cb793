//! The user's choices between runs: one JSON file in the system's place for settings.
//!
//! It is read value by value: a value that this version does not know is left out, the rest is kept. Two windows may share the
//! file: it is changed under a lock, and the list of recent models is merged.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::state::{Form, MAX_RECENT};

/// The settings file, and its list of recent models as this window knows it.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `None` where the system has no place for settings, and in tests: then nothing is kept.
    path: Option<PathBuf>,
    /// The recent models as this window has last read or written them.
    recent: Vec<PathBuf>,
}

/// The choices as they were read.
pub(super) struct Loaded {
    /// The choices; the defaults where there are none.
    pub(super) form: Form,
    /// Where they are saved later.
    pub(super) settings: Settings,
    /// What the user should know: that the file was put aside, or which values were left out.
    pub(super) note: Option<String>,
}

/// Reads the saved choices.
pub(super) fn load() -> Loaded {
    load_from(directories::ProjectDirs::from("", "", "planish").map(|dirs| dirs.config_dir().join("settings.json")))
}

fn load_from(path: Option<PathBuf>) -> Loaded {
    let bytes = path.as_deref().and_then(|path| std::fs::read(path).ok());
    let (form, note) = match (&path, bytes) {
        (Some(path), Some(bytes)) => match serde_json::from_slice(&bytes) {
            Ok(value) => {
                let (form, dropped) = form_from(value);
                let names = dropped.join(", ");
                let note = format!("Left out of the settings, because this version of Planish does not know the value: {names}");
                (form, (!dropped.is_empty()).then_some(note))
            }
            Err(error) => (Form::default(), Some(put_aside(path, &error))),
        },
        _ => (Form::default(), None),
    };
    if let Some(note) = &note {
        tracing::warn!("{note}");
    }
    Loaded { settings: Settings { path, recent: form.recent.clone() }, form, note }
}

/// Renames a file that is not JSON to a free name, and returns the words that tell the user.
fn put_aside(path: &Path, error: &serde_json::Error) -> String {
    let numbered = |n: u32| path.with_extension(if n == 1 { "json.bad".to_string() } else { format!("json.bad.{n}") });
    let free = (1..1000).map(numbered).find(|bad| !bad.exists());
    let reason = format!("The settings could not be read ({error})");
    match free.map(|bad| std::fs::rename(path, &bad).map(|()| bad)) {
        Some(Ok(bad)) => {
            format!("{reason}. They were put aside as {}; all choices are the defaults again", crate::path_text::shown(&bad))
        }
        _ => format!("{reason}. All choices are the defaults again"),
    }
}

/// The choices that a JSON value holds, and the names of those that this version does not know.
fn form_from(mut value: Value) -> (Form, Vec<String>) {
    Form::update_saved(&mut value);
    if let Ok(form) = serde_json::from_value(value.clone()) {
        return (form, Vec::new());
    }
    let Ok(mut kept) = serde_json::to_value(Form::default()) else { return (Form::default(), Vec::new()) };
    let mut dropped = Vec::new();
    if let Value::Object(fields) = value {
        for (name, new) in fields {
            fit(&mut kept, &mut vec![Step::Key(name)], new, &mut dropped);
        }
    } else {
        dropped.push("all of them".into());
    }
    (serde_json::from_value(kept).unwrap_or_default(), dropped)
}

/// A step from a value to one in it.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Idx(usize),
}

/// Puts a value in its place if the form can still be read then; else puts in as much of it as can be read.
fn fit(kept: &mut Value, at: &mut Vec<Step>, new: Value, dropped: &mut Vec<String>) {
    let before = get(kept, at).cloned();
    set(kept, at, new.clone());
    if serde_json::from_value::<Form>(kept.clone()).is_ok() {
        return;
    }
    match (&before, new) {
        (Some(Value::Object(_)), Value::Object(fields)) => {
            restore(kept, at, before);
            for (name, inner) in fields {
                at.push(Step::Key(name));
                fit(kept, at, inner, dropped);
                at.pop();
            }
        }
        (Some(Value::Array(_)), Value::Array(values)) => {
            set(kept, at, Value::Array(Vec::new()));
            let mut n_kept = 0;
            for (idx, inner) in values.into_iter().enumerate() {
                let name = format!("{} {}", path_text(at), short_text(&inner, idx));
                at.push(Step::Idx(n_kept));
                set(kept, at, inner);
                if serde_json::from_value::<Form>(kept.clone()).is_ok() {
                    n_kept += 1;
                } else {
                    restore(kept, at, None);
                    dropped.push(name);
                }
                at.pop();
            }
        }
        (_, new) => {
            restore(kept, at, before);
            dropped.push(format!("{} {}", path_text(at), short_text(&new, 0)).trim_end().to_string());
        }
    }
}

/// A text, number or truth value as it stands; for anything else its position in the list.
fn short_text(value: &Value, idx: usize) -> String {
    match value {
        Value::String(text) => text.chars().take(40).collect(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => format!("#{}", idx + 1),
    }
}

fn path_text(at: &[Step]) -> String {
    let names = at.iter().map(|step| match step {
        Step::Key(name) => name.clone(),
        Step::Idx(idx) => idx.to_string(),
    });
    names.collect::<Vec<_>>().join(".")
}

fn get<'a>(whole: &'a Value, at: &[Step]) -> Option<&'a Value> {
    at.iter().try_fold(whole, |value, step| match step {
        Step::Key(name) => value.get(name),
        Step::Idx(idx) => value.get(idx),
    })
}

fn set(whole: &mut Value, at: &[Step], new: Value) {
    let Some((last, way)) = at.split_last() else { return };
    let parent = way.iter().try_fold(whole, |value, step| match step {
        Step::Key(name) => value.get_mut(name),
        Step::Idx(idx) => value.get_mut(*idx),
    });
    match (parent, last) {
        (Some(Value::Object(fields)), Step::Key(name)) => {
            fields.insert(name.clone(), new);
        }
        (Some(Value::Array(values)), Step::Idx(idx)) => match values.get_mut(*idx) {
            Some(slot) => *slot = new,
            None => values.push(new),
        },
        _ => {}
    }
}

/// Puts back what was at a place; `None` where nothing was.
fn restore(whole: &mut Value, at: &[Step], before: Option<Value>) {
    if let Some(before) = before {
        return set(whole, at, before);
    }
    let Some((last, way)) = at.split_last() else { return };
    let parent = way.iter().try_fold(whole, |value, step| match step {
        Step::Key(name) => value.get_mut(name),
        Step::Idx(idx) => value.get_mut(*idx),
    });
    match (parent, last) {
        (Some(Value::Object(fields)), Step::Key(name)) => {
            fields.remove(name);
        }
        (Some(Value::Array(values)), Step::Idx(idx)) => values.truncate(*idx),
        _ => {}
    }
}

impl Settings {
    /// Saves the choices; the recent models of another window are taken over. A failure costs only comfort, so it is logged and not shown.
    pub(super) fn save(&mut self, form: &mut Form) {
        let Some(path) = self.path.clone() else { return };
        if let Err(error) = self.save_to(&path, form) {
            tracing::warn!("settings could not be saved: {error}");
        }
    }

    fn save_to(&mut self, path: &Path, form: &mut Form) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Released when it is closed, also by a crash. A file system without locks loses only the merging.
        let lock = File::create(path.with_extension("json.lock"))?;
        if let Err(error) = lock.lock() {
            tracing::warn!("settings are saved without a lock: {error}");
        }
        let theirs = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        if let Some(theirs) = theirs {
            form.recent = merged(&self.recent, &form.recent, &form_from(theirs).0.recent);
        }
        self.recent.clone_from(&form.recent);
        let bytes = serde_json::to_vec_pretty(form).map_err(std::io::Error::other)?;
        // Renamed into place: a crash must not leave half a file, which would lose all choices.
        let part = path.with_extension("json.part");
        std::fs::write(&part, bytes)?;
        std::fs::rename(&part, path)
    }
}

/// The list on the disk (`theirs`) with what this window has done since the list was `before`: the models that it has opened
/// come first, those that it has taken off stay off.
fn merged(before: &[PathBuf], ours: &[PathBuf], theirs: &[PathBuf]) -> Vec<PathBuf> {
    // The models that this window has opened stand in front of the rest, which keeps its old order.
    let is_in_order = |rest: &[PathBuf]| {
        let mut old = before.iter();
        rest.iter().all(|path| old.any(|known| known == path))
    };
    let n_opened = (0..=ours.len()).find(|&n| is_in_order(ours.get(n..).unwrap_or_default())).unwrap_or(ours.len());
    let opened = ours.get(..n_opened).unwrap_or_default();
    // A full list has lost its last entry, which nobody has taken off.
    let is_taken_off = |path: &PathBuf| ours.len() < MAX_RECENT && before.contains(path) && !ours.contains(path);
    let others = theirs.iter().filter(|path| !opened.contains(path) && !is_taken_off(path));
    opened.iter().chain(others).take(MAX_RECENT).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::Target;
    use crate::model::Level;
    use crate::state::{Page, TextChoice, Theme};

    fn loaded(dir: &Path, text: &str) -> Loaded {
        std::fs::write(dir.join("settings.json"), text).unwrap();
        load_from(Some(dir.join("settings.json")))
    }

    #[test]
    fn an_unknown_name_loses_that_value_only() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str, dropped: &str, is_kept: &dyn Fn(&Form) -> bool| {
            let found = loaded(dir.path(), text);
            assert!(is_kept(&found.form), "{text}: {:?}", found.form);
            match (dropped, found.note) {
                ("", note) => assert_eq!(note, None, "{text}"),
                (names, note) => assert!(note.as_ref().is_some_and(|note| note.ends_with(names)), "{text}: {note:?}"),
            }
        };
        let zoomed = |form: &Form| (form.zoom - 1.5).abs() < 1e-6 && form.page == Page::default();
        check(r#"{"page":"Deploy","zoom":1.5}"#, "page Deploy", &zoomed);
        check(r#"{"page":7,"zoom":1.5}"#, "page 7", &zoomed);
        check(r#"{"future":{"deep":[1]},"zoom":1.5}"#, "", &zoomed);
        check(r#"{"theme":"Sepia","page":"Plan","recent":["a.gguf"]}"#, "theme Sepia", &|form| {
            form.page == Page::Plan && form.theme == Theme::System && form.recent == [PathBuf::from("a.gguf")]
        });
        // In nested structs and in lists.
        check(r#"{"goal":{"target":"moon","n_ctx":777},"levels":["Q8_0","Q9_X","Q4_0"]}"#, "levels Q9_X", &|form| {
            form.goal.target == Target::default()
                && form.goal.n_ctx == 777
                && form.levels.iter().copied().collect::<Vec<_>>() == [Level::Q8_0, Level::Q4_0]
        });
        check(r#"{"quality":{"text":"Web","max_tokens":5,"full":true},"zoom":"large"}"#, "zoom large", &|form| {
            form.quality.text == TextChoice::Bundled
                && form.quality.max_tokens == 5
                && form.quality.full
                && form.zoom.to_bits() == 1.0_f32.to_bits()
        });
        check("3", "all of them", &|form| *form == Form::default());
    }

    #[test]
    fn a_broken_file_is_kept_aside_under_a_free_name() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("settings.json.bad", "{\"page\": "), ("settings.json.bad.2", "not json")] {
            let found = loaded(dir.path(), text);
            assert_eq!(found.form, Form::default());
            assert!(found.note.is_some_and(|note| note.contains(&format!("put aside as {}", dir.path().join(name).display()))));
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), text);
            assert!(!dir.path().join("settings.json").exists());
        }
        assert!(load_from(Some(dir.path().join("settings.json"))).note.is_none(), "no file is no fault");
    }

    #[test]
    fn two_windows_keep_each_others_recent_models() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        let mut one = loaded(dir.path(), r#"{"recent":["c","d"]}"#);
        let mut other = load_from(Some(path.clone()));
        one.form.remember("a".into());
        one.settings.save(&mut one.form);
        other.form.remember("b".into());
        other.form.recent.retain(|known| known != Path::new("d"));
        other.settings.save(&mut other.form);
        let names = |form: &Form| form.recent.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().concat();
        assert_eq!(names(&other.form), "bac");
        // The first one saves something else: it neither brings back nor loses anything.
        one.form.zoom = 1.25;
        one.settings.save(&mut one.form);
        assert_eq!(names(&load_from(Some(path.clone())).form), "bac");
        one.form.remember("c".into());
        one.settings.save(&mut one.form);
        assert_eq!(names(&load_from(Some(path)).form), "cba");
    }

    #[test]
    fn a_full_list_drops_its_oldest_only() {
        let list = |names: std::ops::Range<usize>| names.map(|n| PathBuf::from(n.to_string())).collect::<Vec<_>>();
        let before = list(1..11);
        let ours = list(0..10);
        assert_eq!(merged(&before, &ours, &before), ours);
        assert_eq!(merged(&before, &before, &before), before);
    }
}
