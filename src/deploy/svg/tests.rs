//! Every picture is well-formed, holds what it shows, and is drawn by resvg.

use resvg::usvg::roxmltree::{Document, Node};

use super::*;
use crate::advise::{Band, Interval};
use crate::bench::rows::pair::Pair;
use crate::deploy::chart::{Axis, BarRow, Bars, ChartKind, Mark, Scale, Scatter};
use crate::deploy::look::LevelLook;
use crate::model::{Framework, PrecisionClass};

const HOSTILE: &str = "<&\">\u{0}\u{1b}]]></svg><script>";

fn axis(scale: Scale, min: f64, max: f64) -> Axis {
    Axis { label: "Loss <nats> & more".into(), scale, min, max }
}

fn interval(value: f64, half: f64) -> Interval {
    Interval { value, low: value - half, high: value + half }
}

fn scatter() -> Chart {
    let classes = [
        Some(PrecisionClass::Full),
        Some(PrecisionClass::Medium),
        Some(PrecisionClass::Low),
        Some(PrecisionClass::UltraLow),
        None,
    ];
    let look = |class| LevelLook { framework: Framework::LlamaCpp, class };
    let mark = |(idx, class): (u32, Option<PrecisionClass>)| Mark {
        name: if idx == 2 { HOSTILE.into() } else { format!("Q{idx}_K_M") },
        look: class.map(look),
        x: interval(100.0 - 20.0 * f64::from(idx), 0.0),
        // The last error bar reaches below 0, the third mark is outside of both axes.
        y: interval(if idx == 2 { 1e9 } else { 0.002 * 4_f64.powi(idx.cast_signed()) }, 0.004),
        is_measured: idx != 1,
        details: "all\nnumbers".into(),
    };
    Chart::Scatter(Scatter {
        kind: ChartKind::SizeLoss,
        x: axis(Scale::Linear, 0.0, 114.0),
        y: axis(Scale::Log10, 0.001, 1.0),
        marks: (0..).zip(classes).map(mark).collect(),
        front: vec![[20.0, 0.512], [40.0, 0.128], [100.0, 0.002]],
        bar_meaning: "95 % of the mean",
    })
}

fn bars() -> Chart {
    let band = Band { low: 20.0, mid: 40.0, high: 80.0 };
    let row = |name: &str, measured, missing| BarRow {
        name: name.into(),
        look: Some(LevelLook { framework: Framework::LlamaCpp, class: PrecisionClass::Low }),
        pair: Pair { predicted: Some(band), measured, ..Pair::default() },
        missing,
        details: "numbers".into(),
    };
    Chart::Bars(Bars {
        kind: ChartKind::Decode,
        x: axis(Scale::Linear, 0.0, 95.0),
        rows: vec![
            row(HOSTILE, Some((85.0, 10.0)), None),
            row("Q2_K", None, Some("not measured")),
            row("Q4_0", Some((f64::NAN, 0.0)), None),
        ],
        measured_meaning: "measured",
        predicted_meaning: "predicted",
    })
}

fn number(node: &Node, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

fn translation(node: &Node) -> (f64, f64) {
    let text = node.attribute("transform").unwrap();
    let (x, y) = text.strip_prefix("translate(").unwrap().strip_suffix(')').unwrap().split_once(' ').unwrap();
    (x.parse().unwrap(), y.parse().unwrap())
}

fn of_class<'a>(doc: &'a Document<'a>, class: &'a str) -> Vec<Node<'a, 'a>> {
    doc.descendants().filter(|node| node.attribute("class") == Some(class)).collect()
}

#[test]
fn every_mark_lies_inside_the_plot_whatever_its_values_and_names() {
    for style in [SvgStyle::LIGHT, SvgStyle::DARK, SvgStyle::PAGE] {
        let svg = chart_svg(&scatter(), &style);
        let doc = Document::parse(&svg).unwrap();
        let frame = of_class(&doc, "frame")[0];
        let (left, top) = (number(&frame, "x"), number(&frame, "y"));
        let (right, bottom) = (left + number(&frame, "width"), top + number(&frame, "height"));
        let marks = of_class(&doc, "mark");
        assert_eq!(marks.len(), 5);
        for mark in marks {
            let (x, y) = translation(&mark);
            assert!((left..=right).contains(&x) && (top..=bottom).contains(&y), "({x}, {y}) in {left} {top} {right} {bottom}");
            assert_eq!(mark.first_element_child().and_then(|title| title.text()), Some("all\nnumbers"));
        }
        assert!(bottom < style.height && right < style.width);
        let names: Vec<&str> = of_class(&doc, "name").iter().filter_map(Node::text).collect();
        assert!(names.iter().any(|name| name.starts_with("<&\">")), "{names:?}");
        assert!(!doc.descendants().any(|node| node.has_tag_name("script")));
        assert!(svg.contains("Pareto front") && svg.contains("hollow: predicted") && !svg.contains("NaN"));
    }
}

#[test]
fn bars_stay_inside_the_plot_and_missing_ones_say_why() {
    let svg = chart_svg(&bars(), &SvgStyle::LIGHT);
    let doc = Document::parse(&svg).unwrap();
    let frame = of_class(&doc, "frame")[0];
    let right = number(&frame, "x") + number(&frame, "width");
    let drawn = of_class(&doc, "bar");
    assert_eq!(drawn.len(), 5, "three predictions and two measurements");
    for bar in drawn {
        let width = number(&bar.children().find(|child| child.has_tag_name("rect")).unwrap(), "width");
        assert!(translation(&bar).0 + width <= right + 0.1);
    }
    assert!(doc.descendants().any(|node| node.text() == Some("not measured")));
}

#[test]
fn a_plot_without_marks_says_so() {
    let Chart::Scatter(full) = scatter() else { panic!("no scatter") };
    let empty = Chart::Scatter(Scatter { marks: Vec::new(), ..full });
    let svg = chart_svg(&empty, &SvgStyle::LIGHT);
    let doc = Document::parse(&svg).unwrap();
    assert!(doc.descendants().any(|node| node.text() == Some("nothing measured")));
    assert_eq!((has_measurement(&empty), has_measurement(&scatter()), has_measurement(&bars())), (false, true, true));
}

#[test]
fn every_picture_has_a_title_and_a_description() {
    for chart in [scatter(), bars()] {
        let svg = chart_svg(&chart, &SvgStyle::PAGE);
        let doc = Document::parse(&svg).unwrap();
        let child = |name: &str| doc.root_element().children().find(|node| node.has_tag_name(name)).and_then(|node| node.text());
        assert!(child("title").is_some_and(|title| !title.is_empty()));
        assert!(child("desc").is_some_and(|text| text.contains("Loss <nats> & more")), "{:?}", child("desc"));
    }
}
