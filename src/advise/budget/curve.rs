//! The least loss at every size.

use super::costs::{Choice, Costs};
use crate::model::{DType, Model};

/// How far the sum of single losses may be from what a file loses, as a part: what rounding in one layer does to the next is not in it. Sums were
/// 16 to 39 % too low for SmolLM2 and the sample.
const SUM_IS_OFF: f64 = 0.4;

/// A size and the least loss that is known for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Bytes of all tensors that levels change.
    pub data_bytes: u64,
    /// Predicted mean KL divergence in nats.
    pub loss: f64,
    /// Its error in nats: of the measurement, and of adding losses up.
    pub loss_error: f64,
}

/// What can be bought: for each tensor the types that lose less than any smaller one.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The place of each tensor in the model, and its choices from the smallest on, each worth its bytes.
    tensors: Vec<(usize, Vec<Choice>)>,
    /// Steps to the next choice of a tensor, by its place in `tensors`: the most loss for a byte first.
    steps: Vec<usize>,
}

impl Curve {
    /// The curve of these tensors of a model.
    #[must_use]
    pub fn new(model: &Model, costs: &Costs, is_quantizable: impl Fn(usize) -> bool) -> Self {
        let places = model.tensors.iter().enumerate().filter(|(idx, _)| is_quantizable(*idx));
        Self::of(places.map(|(idx, tensor)| (idx, worthwhile(&costs.choices(tensor)))).collect())
    }

    fn of(tensors: Vec<(usize, Vec<Choice>)>) -> Self {
        let mut steps: Vec<(f64, usize)> = Vec::new();
        for (place, (_, choices)) in tensors.iter().enumerate() {
            steps.extend(choices.windows(2).map(|pair| (gain(&pair[0], &pair[1]), place)));
        }
        // Gains of one tensor fall from step to step, so their order stays.
        steps.sort_by(|one, other| other.0.total_cmp(&one.0));
        Self { tensors, steps: steps.into_iter().map(|(_, place)| place).collect() }
    }

    /// The whole curve, from the smallest size to the largest.
    #[must_use]
    pub fn points(&self) -> Vec<CurvePoint> {
        let mut chosen = vec![0; self.tensors.len()];
        let mut points = vec![self.point(&chosen)];
        for &place in &self.steps {
            chosen[place] += 1;
            points.push(self.point(&chosen));
        }
        points
    }

    /// The types of all tensors that levels change, by their place in the model, at no more than `data_bytes`; those of the smallest size where
    /// even they take more.
    #[must_use]
    pub fn choose(&self, data_bytes: u64) -> (Vec<(usize, DType)>, CurvePoint) {
        let mut chosen = vec![0; self.tensors.len()];
        let mut size_bytes = self.point(&chosen).data_bytes;
        let mut is_open = vec![true; self.tensors.len()];
        for &place in &self.steps {
            let choices = &self.tensors[place].1;
            let (now, next) = (choices[chosen[place]], choices[chosen[place] + 1]);
            let with = size_bytes - now.size_bytes + next.size_bytes;
            // A step that does not fit leaves room for those of other tensors; later ones of its own would skip it.
            is_open[place] &= with <= data_bytes;
            if is_open[place] {
                chosen[place] += 1;
                size_bytes = with;
            }
        }
        let dtypes = self.tensors.iter().zip(&chosen).map(|((idx, choices), &choice)| (*idx, choices[choice].dtype)).collect();
        (dtypes, self.point(&chosen))
    }

    fn point(&self, chosen: &[usize]) -> CurvePoint {
        let choices = || self.tensors.iter().zip(chosen).filter_map(|((_, choices), &choice)| choices.get(choice));
        let loss: f64 = choices().map(|choice| choice.loss).sum();
        let squares: f64 = choices().map(|choice| choice.loss_error.powi(2)).sum();
        CurvePoint {
            data_bytes: choices().fold(0, |sum, choice| sum.saturating_add(choice.size_bytes)),
            loss,
            loss_error: squares.sqrt().hypot(SUM_IS_OFF * loss),
        }
    }
}

/// The point whose size is nearest to this one: a file and its point differ by some bytes of the recipe's text. `None` without points.
#[must_use]
pub fn nearest_point(points: &[CurvePoint], size_bytes: u64) -> Option<&CurvePoint> {
    points.iter().min_by_key(|point| point.data_bytes.abs_diff(size_bytes))
}

/// What measured files say about predictions: `measured = factor * predicted ^ exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    factor: f64,
    exponent: f64,
    n_points: usize,
}

impl Correction {
    /// From pairs of predicted and measured losses: one gives the factor alone, several the line through their logarithms.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a number of files")]
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        let logs = pairs.iter().filter(|(predicted, measured)| *predicted > 0.0 && *measured > 0.0);
        let logs: Vec<(f64, f64)> = logs.map(|(predicted, measured)| (predicted.ln(), measured.ln())).collect();
        let n = logs.len() as f64;
        if logs.is_empty() {
            return Self { factor: 1.0, exponent: 1.0, n_points: 0 };
        }
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|log| log.0), mean(|log| log.1));
        let spread: f64 = logs.iter().map(|log| (log.0 - x).powi(2)).sum();
        let together: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
        // Files of nearly the same size say nothing about the slope, and no noise makes a larger file lose more.
        let exponent = if spread > 0.1 { (together / spread).clamp(0.5, 2.0) } else { 1.0 };
        Self { factor: (y - exponent * x).exp(), exponent, n_points: logs.len() }
    }

    /// A corrected prediction with its error. What was measured takes away the part of the error that is in the sum.
    #[must_use]
    pub fn apply(&self, loss: f64, loss_error: f64) -> (f64, f64) {
        let corrected = if loss > 0.0 { self.factor * loss.powf(self.exponent) } else { 0.0 };
        let relative = if loss > 0.0 { loss_error / loss } else { 0.0 };
        let rest = if self.n_points > 1 { relative / 2.0 } else { relative };
        (corrected, corrected * rest)
    }

    /// Measured files that it follows from.
    #[must_use]
    pub fn n_points(&self) -> usize {
        self.n_points
    }
}

/// Loss that each byte more saves.
#[allow(clippy::cast_precision_loss, reason = "a size of a tensor")]
fn gain(from: &Choice, to: &Choice) -> f64 {
    (from.loss - to.loss) / (to.size_bytes - from.size_bytes).max(1) as f64
}

/// Of choices in the order of their sizes, those on the lower convex hull: each one saves less for a byte than the one before.
fn worthwhile(choices: &[Choice]) -> Vec<Choice> {
    let mut hull: Vec<Choice> = Vec::new();
    for &choice in choices {
        if hull.last().is_some_and(|last| choice.loss >= last.loss) {
            continue;
        }
        hull.pop_if(|last| last.size_bytes == choice.size_bytes);
        while let [.., before, last] = hull.as_slice() {
            if gain(before, last) > gain(last, &choice) {
                break;
            }
            hull.pop();
        }
        hull.push(choice);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(dtype: DType, size_bytes: u64, loss: f64) -> Choice {
        Choice { dtype, size_bytes, loss, loss_error: 0.1 * loss }
    }

    #[test]
    fn choices_that_are_not_worth_their_bytes_are_left_out() {
        let choices = [
            choice(DType::Q2_K, 10, 8.0),
            choice(DType::Q3_K, 20, 7.5),
            choice(DType::Q4_0, 30, 2.0),
            choice(DType::Q4_K, 30, 1.0),
            choice(DType::Q5_0, 40, 1.5),
            choice(DType::Q8_0, 60, 0.5),
        ];
        let found: Vec<DType> = worthwhile(&choices).iter().map(|choice| choice.dtype).collect();
        assert_eq!(found, [DType::Q2_K, DType::Q4_K, DType::Q8_0]);
    }

    #[test]
    fn measured_files_correct_the_rest_of_the_curve() {
        let check = |pairs: &[(f64, f64)], at: f64, expected: f64| {
            let (found, _) = Correction::of(pairs).apply(at, 0.0);
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
        };
        check(&[], 0.3, 0.3);
        check(&[(0.1, 0.2)], 0.3, 0.6);
        check(&[(0.01, 0.01), (0.1, 0.2)], 0.01, 0.01);
        check(&[(0.01, 0.01), (0.1, 0.2)], 0.1, 0.2);
        // Too near to each other for a slope: the mean of the factors.
        check(&[(0.1, 0.2), (0.1, 0.2)], 0.4, 0.8);
        assert_eq!(Correction::of(&[(0.0, 0.1)]).n_points(), 0);
    }

    /// The least loss within a size, by trying everything.
    fn best(tensors: &[Vec<Choice>], size: u64) -> f64 {
        let Some((first, rest)) = tensors.split_first() else { return 0.0 };
        let fitting = first.iter().filter(|choice| choice.size_bytes <= size);
        fitting.map(|choice| choice.loss + best(rest, size - choice.size_bytes)).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn a_budget_is_spent_where_it_saves_most() {
        let mut random = fastrand::Rng::with_seed(5);
        let sizes = [(DType::Q2_K, 26), (DType::Q3_K, 34), (DType::Q4_K, 45), (DType::Q6_K, 66), (DType::Q8_0, 85)];
        let tensors: Vec<Vec<Choice>> = (0..5)
            .map(|_| {
                let sensitivity = random.f64();
                let loss = |size: u32| sensitivity * 4.0_f64.powf(-f64::from(size) / 10.0) * 1e4;
                sizes.iter().map(|&(dtype, size)| choice(dtype, size.into(), loss(size))).collect()
            })
            .collect();
        let curve = Curve::of(tensors.iter().map(|choices| worthwhile(choices)).enumerate().collect());
        let points = curve.points();
        assert!(points.is_sorted_by(|one, other| one.data_bytes < other.data_bytes && one.loss > other.loss));
        for size in (130..425).step_by(5) {
            let (dtypes, found) = curve.choose(size);
            assert!(found.data_bytes <= size && dtypes.len() == 5);
            // Never better than everything tried; not much worse, because there is always one step too many at most.
            let best = best(&tensors, size);
            let next = points.iter().rev().find(|point| point.data_bytes <= size).unwrap();
            assert!(found.loss >= best - 1e-9 && found.loss <= next.loss + 1e-9, "{size}: {} {best}", found.loss);
        }
        // Too small for anything: the smallest there is.
        assert_eq!(curve.choose(0).1, points[0]);
        assert_eq!(curve.choose(u64::MAX).1, *points.last().unwrap());
    }
}
