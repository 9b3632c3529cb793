//! Special tokens, merges and chat templates: what comes after the vocabulary.

use serde_json::{Map, Value as Json};

use super::chat::ChatTemplate;
use super::end_token::{ROLES as END_ROLES, end_tokens};
use super::entries::Entries;
use super::files::{Folder, text_of, token_text};
use super::frame::{paired_token, pieces, sequence_of, special_of};
use super::json::{Merges, TokenizerJson};
use crate::error::Result;
use crate::format::config_value::{flag_of, whole_of};
use crate::model::Text;

/// The roles that are looked for by default, as in the converter.
const ROLES: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

/// Special tokens and what goes with them.
///
/// Source: `SpecialVocab` in `gguf-py/gguf/vocab.py`, llama.cpp of 2026-08-21. There, special tokens that `tokenizer_config.json` holds as
/// objects differ from those of the post-processor, so that the token at the start is lost; here their texts are compared.
#[derive(Debug, Default)]
pub(super) struct Special {
    roles: Vec<String>,
    n_tokens: Option<u64>,
    merges: Vec<Text>,
    ids: Vec<(String, u32)>,
    adds: Vec<(String, bool)>,
    chat: Option<ChatTemplate>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What to look for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// True to read merges too.
    pub merges: bool,
    /// Roles; the usual ones where empty.
    pub roles: &'a [&'a str],
    /// Ids from this one on are left out; `None` leaves out none.
    pub n_tokens: Option<usize>,
}

impl Special {
    /// Reads a folder's files; `json` is its `tokenizer.json`.
    ///
    /// # Errors
    /// As `Folder::json`.
    pub fn read(folder: &Folder, json: Option<&TokenizerJson>, wanted: Wanted) -> Result<Self> {
        let roles = if wanted.roles.is_empty() { &ROLES[..] } else { wanted.roles };
        let mut special = Self {
            roles: roles.iter().map(ToString::to_string).collect(),
            n_tokens: wanted.n_tokens.map(|n| n as u64),
            ..Self::default()
        };
        if let Some(json) = json {
            if wanted.merges {
                special.merges = merge_texts(&json.model.merges);
            }
            special.read_normalizer(json);
        }
        // An empty object counts as none, as it does in Python.
        let mut config = folder.json("tokenizer_config.json")?.filter(|config| !config.is_empty());
        if let Some(json) = json {
            special.read_post_processor(json, config.as_mut());
        }
        special.chat = ChatTemplate::read(folder, config.as_ref(), &mut special.warnings)?;
        if let Some(config) = &config {
            special.read_config(config, json);
        }
        special.read_model_config(&folder.json("config.json")?.unwrap_or_default());
        if wanted.merges && special.merges.is_empty() {
            special.merges = merge_texts(&read_merges(folder)?);
        }
        if wanted.merges && special.merges.is_empty() {
            special.warnings.push("the vocabulary has no merges".into());
        }
        Ok(special)
    }

    /// Sets the id of a role that has none yet; warns of an id that no token has.
    pub fn set(&mut self, role: &str, id: u64) {
        let is_new = !self.ids.iter().any(|(known, _)| known == role);
        match u32::try_from(id) {
            Ok(id) if self.n_tokens.is_none_or(|n| u64::from(id) < n) => {
                if is_new {
                    self.ids.push((role.into(), id));
                }
            }
            _ => self.warnings.push(format!("the {role} token has the number {id}, which no token has; it is left out")),
        }
    }

    /// Looks further for the token that ends a text, if neither the settings' added tokens nor an id in `config.json` named it.
    ///
    /// # Errors
    /// As `Folder::json`.
    pub fn find_end(&mut self, folder: &Folder, tokens: &[Text]) -> Result<()> {
        if self.ids.iter().any(|(role, _)| role == "eos") {
            return Ok(());
        }
        let found = end_tokens(folder, tokens)?;
        if found.is_empty() {
            self.warnings.push("nothing names an end token (eos_token): answers do not end by themselves".into());
        }
        for id in found {
            let free = END_ROLES.iter().find(|role| !self.ids.iter().any(|(known, _)| known == *role));
            if let Some(role) = free {
                self.set(role, id);
            }
        }
        Ok(())
    }

    /// Whether a token is added before a text; `None` if nothing says so.
    pub fn adds_bos(&self) -> Option<bool> {
        self.adds.iter().find(|(role, _)| role == "bos").map(|(_, adds)| *adds)
    }

    /// Sets whether a token is added before a text.
    pub fn set_adds_bos(&mut self, adds: bool) {
        self.set_adds("bos", adds);
    }

    fn set_adds(&mut self, role: &str, adds: bool) {
        match self.adds.iter_mut().find(|(known, _)| known == role) {
            Some(entry) => entry.1 = adds,
            None => self.adds.push((role.into(), adds)),
        }
    }

    fn read_normalizer(&mut self, json: &TokenizerJson) {
        for step in json.normalizer.steps("normalizers") {
            match text_of(step, "type").unwrap_or_default() {
                "Lowercase" => self.lowercase = Some(true),
                "StripAccents" => self.strip_accents = Some(true),
                "BertNormalizer" => {
                    for (key, flag) in [("lowercase", &mut self.lowercase), ("strip_accents", &mut self.strip_accents)] {
                        if let Some(value) = step.get(key) {
                            *flag = value.as_bool();
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads from the post-processor which special tokens are added, and gives tokens to roles that have none.
    fn read_post_processor(&mut self, json: &TokenizerJson, config: Option<&mut Map<String, Json>>) {
        let mut none = Map::new();
        let has_config = config.is_some();
        let config = config.unwrap_or(&mut none);
        let mut named = Named { config, has_config };
        if named.get("bos").is_none()
            && let Some(cls) = named.get("cls")
        {
            named.set("bos", &cls);
        }
        if named.get("eos").is_none()
            && let Some(sep) = named.get("sep")
        {
            named.set("eos", &sep);
        }
        for step in json.post_processor.steps("processors") {
            match text_of(step, "type").unwrap_or_default() {
                "ByteLevel" => {
                    for role in ["bos", "eos"] {
                        if !self.adds.iter().any(|(known, _)| known == role) {
                            self.set_adds(role, false);
                        }
                    }
                }
                "RobertaProcessing" => {
                    for role in ["bos", "eos", "sep"] {
                        self.set_adds(role, true);
                    }
                    for (role, other) in [("cls", "bos"), ("sep", "eos")] {
                        if named.get(role).is_none()
                            && let Some(token) = paired_token(step, role).map(String::from).or_else(|| named.get(other))
                        {
                            named.set(role, &token);
                        }
                    }
                }
                "TemplateProcessing" => self.read_template(step, &mut named),
                _ => {}
            }
        }
    }

    fn read_template(&mut self, step: &Map<String, Json>, named: &mut Named) {
        let (single, pair) = (pieces(step, "single"), pieces(step, "pair"));
        // Without settings only the template says what the tokens are.
        let (mut bos, mut eos) = (named.get("bos"), named.get("eos"));
        let (mut first, mut last) = (None, None);
        if single.len() > 1 {
            first = special_of(single.first());
            last = special_of(single.last());
            if let Some(first) = first {
                if !named.has_config {
                    bos = Some(first.into());
                } else if ![bos.as_deref(), named.get("cls").as_deref()].contains(&Some(first)) {
                    if bos.is_none() {
                        named.set("bos", first);
                        bos = Some(first.into());
                    }
                    if named.get("cls").is_none() {
                        named.set("cls", first);
                    }
                }
                let is_known = [bos.as_deref(), named.get("cls").as_deref()].contains(&Some(first));
                self.set_adds("bos", is_known);
                if !is_known {
                    self.warnings.push(format!(
                        "the tokenizer puts {first:?} before a text, which is not its first token; it is not added"
                    ));
                }
            }
            if let Some(last) = last {
                if !named.has_config {
                    eos = Some(last.into());
                } else if eos.as_deref() != Some(last) {
                    self.move_eos(named, eos.as_deref(), last);
                    eos = Some(last.into());
                }
                self.set_adds("eos", eos.as_deref() == Some(last));
            }
        }
        let start = usize::from(first.is_some() && special_of(pair.first()) == first);
        let end = pair.len().saturating_sub(usize::from(last.is_some() && special_of(pair.last()) == last));
        let Some(middle) = pair.get(start..end).filter(|pieces| !pieces.is_empty()) else { return };
        let is_framed = sequence_of(middle.first()) == Some("A") && sequence_of(middle.last()) == Some("B");
        let Some(separators) = middle.get(1..middle.len().saturating_sub(1)).filter(|pieces| is_framed && !pieces.is_empty())
        else {
            return;
        };
        let sep = named.get("sep");
        let separates =
            |piece: &Json| special_of(Some(piece)).is_some_and(|token| [sep.as_deref(), eos.as_deref()].contains(&Some(token)));
        let mut adds = separates(&separators[0]) && last.is_none();
        if let [_, second] = separators {
            adds |= separates(second);
        }
        self.set_adds("sep", adds);
        if adds
            && sep.is_none()
            && let Some(eos) = &eos
        {
            named.set("sep", eos);
        }
    }

    /// For a template that ends with another token than the one that ends a text: the latter then ends a turn or a message.
    fn move_eos(&mut self, named: &mut Named, eos: Option<&str>, last: &str) {
        let free = ["eot", "eom"].into_iter().find(|role| !self.roles.iter().any(|known| known == role));
        match (free, eos) {
            (Some(role), eos) => {
                self.roles.push(role.into());
                if let Some(eos) = eos {
                    named.set(role, eos);
                }
            }
            (None, _) => self.warnings.push(format!("the tokenizer ends a text with {last:?}")),
        }
        named.set("eos", last);
    }

    /// Reads roles from `tokenizer_config.json`; the ids are those of the added tokens.
    fn read_config(&mut self, config: &Map<String, Json>, json: Option<&TokenizerJson>) {
        for role in self.roles.clone() {
            let key = format!("add_{role}_token");
            let adds = config.get(&key).map_or(Ok(None), flag_of).unwrap_or_else(|what| {
                self.warnings.push(format!("tokenizer_config.json says {key} is {what}; it is left out"));
                None
            });
            if let Some(adds) = adds {
                match self.adds.iter().find(|(known, _)| *known == role) {
                    None => self.set_adds(&role, adds),
                    Some((_, own)) if *own != adds => self.warnings.push(format!(
                        "tokenizer_config.json says add_{role}_token is {adds}, the post-processor says {own}, which counts"
                    )),
                    Some(_) => {}
                }
            }
            let Some(token) = token_text(config.get(&format!("{role}_token"))) else { continue };
            let added = json.map(TokenizerJson::added_tokens).unwrap_or_default();
            if let Some(entry) = added.iter().find(|entry| entry.content == token) {
                self.set(&role, entry.id);
            }
        }
    }

    /// Reads roles from `config.json`, for those that have no token yet.
    fn read_model_config(&mut self, config: &Map<String, Json>) {
        let inner = ["text_config", "llm_config"].iter().find_map(|key| config.get(*key)?.as_object());
        for role in self.roles.clone() {
            let key = format!("{role}_token_id");
            let stated = config.get(&key).filter(|id| !id.is_null()).or_else(|| inner?.get(&key));
            let stated = match stated {
                None => continue,
                // `find_end` looks at a list of end tokens if nothing else names one.
                Some(Json::Array(_)) if role == "eos" => continue,
                Some(Json::Array(list)) if list.len() == 1 => &list[0],
                Some(one) => one,
            };
            match whole_of(stated) {
                Ok(Some(id)) => self.set(&role, id),
                Ok(None) => {}
                // The converter stops here; old files write -1 for "none".
                Err(what) => self.warnings.push(format!("config.json says {key} is {what}; it is left out")),
            }
        }
    }

    /// Writes everything that was found.
    pub fn add_to(self, entries: &mut Entries) {
        entries.texts("tokenizer.ggml.merges", self.merges);
        for (role, id) in self.ids {
            let name = match role.as_str() {
                "unk" => "unknown",
                // The format's own spelling.
                "sep" => "seperator",
                "pad" => "padding",
                "bos" | "eos" | "mask" | "eot" | "eom" => &role,
                // GGUF has no key for the others.
                _ => continue,
            };
            entries.number(&format!("{name}_token_id"), id);
        }
        for (role, adds) in self.adds {
            if ["bos", "eos", "sep"].contains(&role.as_str()) {
                entries.flag(&format!("add_{role}_token"), adds);
            }
        }
        if let Some(chat) = self.chat {
            chat.add_to(entries);
        }
        if let Some(lowercase) = self.lowercase {
            entries.flag("normalizer.lowercase", lowercase);
        }
        if let Some(strip_accents) = self.strip_accents {
            entries.flag("normalizer.strip_accents", strip_accents);
        }
    }
}

/// Texts of special tokens, by role, in a copy of `tokenizer_config.json` that may be amended.
struct Named<'a> {
    config: &'a mut Map<String, Json>,
    has_config: bool,
}

impl Named<'_> {
    fn get(&self, role: &str) -> Option<String> {
        token_text(self.config.get(&format!("{role}_token"))).map(String::from)
    }

    fn set(&mut self, role: &str, token: &str) {
        if self.has_config {
            self.config.insert(format!("{role}_token"), token.into());
        }
    }
}

/// Merges as llama.cpp wants them: a space separates the two parts, and a space inside a part becomes `Ġ`.
fn merge_texts(merges: &Merges) -> Vec<Text> {
    let part = |text: &str| text.replace(' ', "\u{120}");
    merges.0.iter().map(|(left, right)| Text::from(format!("{} {}", part(left), part(right)).as_str())).collect()
}

/// The merges in `merges.txt`; empty if it is not there. Lines that are not pairs are left out.
pub(super) fn read_merges(folder: &Folder) -> Result<Merges> {
    let text = folder.text("merges.txt")?.unwrap_or_default();
    let lines = text.lines().enumerate().filter(|(idx, line)| *idx > 0 || !line.trim().starts_with('#'));
    let pair = |line: &str| {
        let mut parts = line.split_whitespace();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(left), Some(right), None) => Some((left.to_string(), right.to_string())),
            _ => None,
        }
    };
    Ok(Merges(lines.filter_map(|(_, line)| pair(line)).collect()))
}
