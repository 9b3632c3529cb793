//! Two examples for each command, at the end of its help and on its manual page; a test parses each of them.

use clap::Command;

/// The words of a command after `planish`, and what a user might type.
const EXAMPLES: [(&[&str], [&str; 2]); 27] = [
    (&[], ["planish", "planish sample --out try-it"]),
    (&["hardware"], ["planish hardware", "planish hardware --json"]),
    (&["inspect"], ["planish inspect Qwen3-4B", "planish inspect Qwen3-4B-F16.gguf --tensors"]),
    (
        &["recommend"],
        ["planish recommend Qwen3-4B --context 8192", "planish recommend Qwen3-4B --goal speed --memory-budget 6G --all"],
    ),
    (
        &["convert"],
        [
            "planish convert Qwen3-4B --level Q4_K_M,Q8_0,mlx:4-bit --out models",
            "planish convert Qwen3-4B --budget \"fits 8GiB at 8192\" --out models",
        ],
    ),
    (
        &["bench"],
        [
            "planish bench models/Qwen3-4B-Q4_K_M.gguf",
            "planish bench models/a.gguf models/b.gguf --repetitions 5 --sustained 120",
        ],
    ),
    (
        &["quality"],
        [
            "planish quality models/Qwen3-4B-Q4_K_M.gguf --reference Qwen3-4B-F16.gguf",
            "planish quality a.gguf b.gguf --reference source.gguf --text my-mails.txt --max-kld 0.05",
        ],
    ),
    (
        &["compare"],
        [
            "planish compare Qwen3-4B --level Q8_0,Q4_K_M,onnx:INT4,mlx:4-bit --out models",
            "planish compare Qwen3-4B --budget gates --max-kld 0.05 --out models --report Qwen3-4B.html",
        ],
    ),
    (&["doctor"], ["planish doctor", "planish doctor --json"]),
    (
        &["completions"],
        [
            "planish completions bash > ~/.local/share/bash-completion/completions/planish",
            "planish completions fish > ~/.config/fish/completions/planish.fish",
        ],
    ),
    (&["man"], ["planish man > planish.1", "planish man history export > planish-history-export.1"]),
    (
        &["errors"],
        [
            "planish errors Qwen3-4B-F16.gguf models/Qwen3-4B-Q4_K_M.gguf",
            "planish errors Qwen3-4B models/Qwen3-4B-Q4_K_M.gguf --json",
        ],
    ),
    (&["history"], ["planish history", "planish history --filter \"Qwen3 Q4\" --since 2026-11-01"]),
    (&["history", "show"], ["planish history show 12", "planish history show 12 13 --json"]),
    (&["history", "compare"], ["planish history compare 12 13", "planish history compare 12 13 14 --json"]),
    (&["history", "delete"], ["planish history delete 12 13", "planish history delete --all"]),
    (
        &["history", "export"],
        ["planish history export --format csv --out runs.csv", "planish history export --format json --filter Qwen3"],
    ),
    (
        &["ask"],
        [
            "planish ask source.gguf models/a.gguf --prompt \"Why is the sky blue?\"",
            "planish ask a.gguf --prompt \"Write a haiku\" --temperature 0.8 --seed 7",
        ],
    ),
    (&["runtime"], ["planish runtime list", "planish runtime install mlx"]),
    (&["runtime", "list"], ["planish runtime list", "planish runtime list --json"]),
    (&["runtime", "install"], ["planish runtime install onnxruntime", "planish runtime install mlx --json"]),
    (&["runtime", "remove"], ["planish runtime remove mlx", "planish runtime remove mlx --json"]),
    (&["sample"], ["planish sample --out try-it", "planish sample --out try-it --only-unpack"]),
    (
        &["report"],
        ["planish report Qwen3-4B-F16.gguf --out Qwen3-4B.html", "planish report Qwen3-4B-F16.gguf --out Qwen3-4B.html --force"],
    ),
    (
        &["imatrix"],
        [
            "planish imatrix Qwen3-4B-F16.gguf --out imatrix.gguf",
            "planish imatrix --merge english.gguf code.gguf --out imatrix.gguf",
        ],
    ),
    (&["levels"], ["planish levels model.gguf", "planish levels model.gguf --delete Q2_K"]),
    (&["verify"], ["planish verify models/Qwen3-4B-Q4_K_M.gguf", "planish verify models/*.gguf --source Qwen3-4B-F16.gguf"]),
];

/// The examples of a command; empty for an unknown one.
pub(super) fn examples_of(words: &[&str]) -> &'static [&'static str] {
    EXAMPLES.iter().find(|(known, _)| *known == words).map_or(&[], |(_, examples)| examples)
}

/// The command with the examples of all its commands at the end of their help.
pub(super) fn with_examples(command: Command) -> Command {
    add(command, &[])
}

fn add(command: Command, words: &[&str]) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_string()).collect();
    let command = names.iter().fold(command, |command, name| {
        let words: Vec<&str> = words.iter().copied().chain([name.as_str()]).collect();
        command.mut_subcommand(name, |sub| add(sub, &words))
    });
    let examples = examples_of(words);
    if examples.is_empty() {
        return command;
    }
    let mut text = command.get_after_help().map(|known| format!("{known}\n\n")).unwrap_or_default();
    text.push_str("Examples:");
    for example in examples {
        text.push_str("\n  ");
        text.push_str(example);
    }
    command.after_help(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;
    use super::*;

    /// The words of every command, its own name left out.
    fn all_commands(command: &Command, words: &[String], found: &mut Vec<Vec<String>>) {
        found.push(words.to_vec());
        for sub in command.get_subcommands() {
            let words: Vec<String> = words.iter().cloned().chain([sub.get_name().to_string()]).collect();
            all_commands(sub, &words, found);
        }
    }

    /// The words that a shell makes of a line: quotes keep words together, and what follows `>` is the shell's.
    fn words_of(example: &str) -> Vec<String> {
        let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
        for letter in example.split(" > ").next().unwrap_or_default().chars() {
            match letter {
                '"' => is_quoted = !is_quoted,
                ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
                letter => word.push(letter),
            }
        }
        words.push(word);
        words
    }

    #[test]
    fn every_command_has_two_examples_that_it_takes() {
        let mut found = Vec::new();
        all_commands(&Cli::command(), &[], &mut found);
        assert_eq!(found.len(), EXAMPLES.len());
        for words in found {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let examples = examples_of(&words);
            assert_eq!(examples.len(), 2, "{words:?}");
            for example in examples {
                let typed = words_of(example);
                assert_eq!(typed[0], "planish");
                if !words.is_empty() {
                    assert_eq!(typed[1..=words.len()], words[..], "{example}");
                }
                let parsed = Cli::command().try_get_matches_from(&typed);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn the_help_ends_with_them() {
        let mut command = with_examples(Cli::command());
        command.build();
        let convert = command.find_subcommand_mut("convert").unwrap();
        let help = convert.render_help().to_string();
        assert!(help.trim_end().ends_with(examples_of(&["convert"])[1]), "{help}");
        let history = command.find_subcommand_mut("history").unwrap().render_help().to_string();
        assert!(history.contains("PLANISH_HISTORY") && history.contains("Examples:"), "{history}");
    }
}
