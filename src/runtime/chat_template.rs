//! A question in the template of a model's conversations, which is a program in Jinja.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};

/// Steps that a template may take: a long conversation in the longest known template takes some ten thousand.
const MAX_STEPS: u64 = 2_000_000;

/// The text of a conversation that begins with `prompt` as the user's turn and ends where the model's turn starts.
///
/// `special_texts` are the roles and texts of special tokens, `("bos_token", "<s>")`. As in transformers, which has templates run with
/// `trim_blocks` and `lstrip_blocks`, with loop controls, and with two functions of its own.
///
/// Source: `_compile_jinja_template` in `utils/chat_template_utils.py`, transformers 5.24.
///
/// # Errors
/// What the template refuses, and what is wrong with it.
pub(super) fn question_in_template(template: &str, special_texts: &[(String, String)], prompt: &str) -> Result<String, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: &str| {
        let now = jiff::fmt::strtime::format(format, TimeZone::system().to_datetime(Timestamp::now()));
        now.map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    let mut context: BTreeMap<&str, Value> =
        special_texts.iter().map(|(role, text)| (role.as_str(), Value::from(text.as_str()))).collect();
    context.insert("messages", Value::from(vec![Value::from_pairs([("role", "user"), ("content", prompt)])]));
    context.insert("add_generation_prompt", Value::from(true));
    for name in ["tools", "documents"] {
        context.insert(name, Value::from(()));
    }
    environment.render_str(template, context).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What most templates look like: turns in marks, and Python's methods.
    const CHAT_ML: &str = "{{ bos_token }}{% for message in messages %}\n    {% if loop.first and messages[0]['role'] != 'system' %}\n{{ \
                           '<|im_start|>system\nHelp.<|im_end|>\n' }}\n    {% endif %}\n{{ '<|im_start|>' + message['role'] + '\n' + \
                           message['content'].strip() + '<|im_end|>' + '\n' }}{% endfor %}\n{% if add_generation_prompt %}\n{{ \
                           '<|im_start|>assistant\n' }}\n{%- endif %}";

    fn rendered(template: &str) -> Result<String, String> {
        question_in_template(template, &[("bos_token".into(), "<s>".into())], " Why? <b> ")
    }

    #[test]
    fn a_question_stands_in_the_template_as_in_transformers() {
        let expected = "<s><|im_start|>system\nHelp.<|im_end|>\n\n<|im_start|>user\nWhy? <b><|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(rendered(CHAT_ML).as_deref(), Ok(expected));
        assert_eq!(rendered("{% if tools %}tools{% endif %}{% if pad_token is defined %}pad{% endif %}").as_deref(), Ok(""));
        assert_eq!(
            rendered("{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}").as_deref(),
            Ok("01")
        );
        assert_eq!(rendered("{{ strftime_now('%Y') | length }}").as_deref(), Ok("4"));
        assert_eq!(rendered("{{ messages[0].content.split(' ')[1] | tojson }}").as_deref(), Ok("\"Why?\""));
    }

    #[test]
    fn what_a_template_refuses_is_told() {
        assert!(rendered("{{ raise_exception('Roles must alternate') }}").unwrap_err().contains("Roles must alternate"));
        assert!(rendered("{{ messages | nonsense }}").is_err());
        assert!(rendered("{% if %}").is_err());
        assert!(
            rendered("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}").is_err(),
            "no end in sight"
        );
    }
}
