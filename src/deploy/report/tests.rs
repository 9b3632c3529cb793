//! The report tells everything, and nothing in a file can change what it is.

use std::sync::Arc;

use super::*;
use crate::advise::advise;
use crate::bench::quality::{Flip, FlipClass, TokenChoice};
use crate::deploy::test_rows::{model, rows};
use crate::model::Value;
use crate::ui::test_support::sample_machine;

fn html_of(model: &Model, rows: &[ComparisonRow]) -> String {
    let (machine, goal) = (sample_machine(), Goal::default());
    let plan = advise(model, &machine, &goal);
    report_html(&ReportInput {
        model,
        machine: &machine,
        goal: &goal,
        plan: &plan,
        rows,
        limits: &Limits::default(),
        kept: &[],
        warnings: &["measured in two sessions".into()],
        made_at_unix_secs: 1_787_321_100,
    })
}

#[test]
fn every_part_is_there_with_its_numbers() {
    let html = html_of(&model(), &rows());
    let check = |expected: &str| assert!(html.contains(expected), "{expected} is missing");
    for id in ["recommendation", "plots", "numbers", "verdicts", "changes", "provenance", "reproduce"] {
        check(&format!("<section id=\"{id}\">"));
    }
    check("Q4_K_M: 2.6x smaller, 2.4x faster, 9 of 10 next words the same. Q4_K_M is the smallest level here that passes");
    check("Measured in two sessions");
    check("AMD Ryzen 7 PRO 7840U");
    check("What kind of network is it?");
    check("60.0 ± 6.0");
    check("planish bench /models/m-F16.gguf");
    check("planish quality /models/m-Q4_K_M.gguf --reference /models/m-F16.gguf");
    check(&"7e".repeat(32));
    check("at least 95.0 % of the reference wanted");
    check("○&nbsp;predicted");
    check("●&nbsp;measured");
    check("◇&nbsp;assumed");
    check("the measurement of loss failed: no memory");
    check("@media print");
    for id in ["size-loss", "loss-speed", "same-top", "size-speed", "decode", "prefill", "memory"] {
        check(&format!("<figure id=\"plot-{id}\">"));
    }
}

#[test]
fn plots_without_a_measurement_are_left_out() {
    let unmeasured: Vec<ComparisonRow> =
        rows().into_iter().map(|row| ComparisonRow { run: None, quality: None, verdict: None, ..row }).collect();
    let html = html_of(&model(), &unmeasured);
    assert!(!html.contains("<figure") && html.contains("Nothing is measured yet"));
    assert!(html.contains("no file has been judged") || html.contains("No file has been judged"));
    assert!(html_of(&model(), &[]).contains("</html>"));
}

#[test]
fn a_file_that_does_not_pass_is_told_with_what_keeps_it_from_passing() {
    let mut rows = rows();
    let verdict = rows[1].verdict.as_mut().unwrap();
    verdict.decision = crate::advise::Decision::Fail;
    verdict.gates[1].decision = crate::advise::Decision::Fail;
    verdict.gates[0].decision = crate::advise::Decision::Inconclusive;
    let html = html_of(&model(), &rows);
    assert!(
        html.contains("No level here passes the gates on quality; Q4_K_M comes closest and fails mean KL divergence"),
        "{html}"
    );
    assert!(html.contains("Convert and measure a larger level"), "{html}");
}

#[test]
fn nothing_in_a_file_becomes_markup_script_or_a_request() {
    const EVIL: &str = "</script></style></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{0}\u{1b}";
    let mut model = model();
    model.path = format!("/m/{EVIL}.gguf").into();
    model.format_name = EVIL.into();
    model.hyperparameters.architecture = EVIL.into();
    for key in ["general.name", "general.license", "general.organization"] {
        model.metadata.set(key, Value::Str(EVIL.into()));
    }
    let mut rows = rows();
    for row in &mut rows {
        row.name = EVIL.into();
        row.path = format!("/m/{EVIL}-{}.gguf", row.size_bytes).into();
        row.failure = row.failure.take().map(|_| EVIL.into());
        row.quality_failure = row.quality_failure.take().map(|_| EVIL.into());
        if let Some(run) = &mut row.run {
            run.path.clone_from(&row.path);
            run.provenance.runtime = EVIL.into();
            run.provenance.backend = EVIL.into();
            run.provenance.warnings = vec![EVIL.into()];
            run.energy.reason = Some(EVIL.into());
        }
        if let Some(run) = &mut row.quality {
            let run = Arc::make_mut(run);
            let choice = || TokenChoice { text: EVIL.into(), p_reference: None, p_candidate: 0.5 };
            run.reference = EVIL.into();
            run.provenance.text_name = EVIL.into();
            run.provenance.text_sha256 = EVIL.into();
            run.provenance.warnings = vec![EVIL.into()];
            let kind = crate::bench::quality::KindSummary { kind: EVIL.into(), ..run.by_kind[0].clone() };
            run.by_kind = vec![kind.clone(), kind];
            run.flips = vec![Flip {
                chunk_idx: 0,
                position: 1,
                kind: EVIL.into(),
                class: FlipClass::Word,
                before: EVIL.into(),
                truth: choice(),
                reference: choice(),
                candidate: choice(),
                kld: 1.0,
                probability_lost: 0.5,
            }];
        }
    }
    let html = html_of(&model, &rows);
    let lower = html.to_lowercase();
    for forbidden in
        ["<script", "<img", "<iframe", "<link", "<object", "javascript:", "url(", "@import", "\u{0}", "\u{1b}", " src="]
    {
        // What is escaped is text and may say anything.
        let n = lower.matches(forbidden).count() - if forbidden == " src=" { lower.matches("&lt;img src=").count() } else { 0 };
        assert_eq!(n, 0, "{forbidden:?}");
    }
    // The names of namespaces are no requests.
    let addresses: Vec<&str> = html.match_indices("http").map(|(at, _)| &html[at..at + 26]).collect();
    assert!(
        addresses.iter().all(|address| address.starts_with("http://www.w3.org/2000/svg") || address.starts_with("http-equiv")),
        "{addresses:?}"
    );
    assert_eq!(html.matches("</style>").count(), 1);
    assert_eq!(html.matches("<title>").count() - html.matches("<svg").count(), 1 + html.matches("\"><title>").count());
    assert!(html.contains("&lt;/script&gt;"));
}
