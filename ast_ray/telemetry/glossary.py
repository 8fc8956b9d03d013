"""Every metric a run records: tag, unit, what it means, what a bad value looks like.

TensorBoard's chart descriptions and the documentation's glossary are both made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One TensorBoard tag; ``axis`` is what the step counts."""

    tag: str
    name: str
    unit: str
    axis: str
    meaning: str
    bad: str

    @property
    def description(self) -> str:
        """Markdown shown by TensorBoard beside the chart."""
        return f"**{self.name}** [{self.unit}], by {self.axis}. {self.meaning} *Bad:* {self.bad}"


_ITERATION, _EPOCH = "outer iteration", "expert epoch"

METRICS: tuple[Metric, ...] = (
    Metric(
        "validation/accuracy",
        "Validation accuracy",
        "fraction, 0 to 1",
        _ITERATION,
        "Mean top-1 accuracy of fresh networks trained on the synthetic set as it stands, on images held out of the "
        "training split. It chooses the published set; the test split is never used for that.",
        "1/K (chance), or falling while the matching loss falls: the set follows the experts' path and learns "
        "nothing that helps a fresh network.",
    ),
    Metric(
        "validation/accuracy_minus_std",
        "Validation accuracy, lower edge",
        "fraction",
        _ITERATION,
        "Mean minus one sample standard deviation over the validation networks; equal to the mean with one network.",
        "Far below the mean: too few networks to tell two iterations apart (distill.validate_networks).",
    ),
    Metric(
        "validation/accuracy_plus_std",
        "Validation accuracy, upper edge",
        "fraction",
        _ITERATION,
        "Mean plus one sample standard deviation over the validation networks.",
        "As for the lower edge.",
    ),
    Metric(
        "match/relative_loss",
        "Relative matching loss",
        "1 = the set is as good as nothing",
        _ITERATION,
        "The matching loss divided by what counts as nothing gained, so that settings can be compared. Trajectories: "
        "the sum of the weights beta of Eq. 22, the loss of a student that stays where it is. Gradients: the distance "
        "of orthogonal ones. Features: the distance to features of zero.",
        "Trajectories: stays above 0.95 (rho drowns the match, or alpha and N are too small), or above 1 (the student "
        "runs away). Others: not falling in a running mean.",
    ),
    Metric(
        "match/loss",
        "Matching loss",
        "the method's own",
        _ITERATION,
        "The loss as optimised. Trajectories: Eq. 22, the sum over matching points of beta times the squared distance "
        "left, divided by the squared distance at the start. Gradients: the sum over classes and rows of one minus "
        "the cosine. Features: the sum over classes of squared distances of means.",
        "Not falling over hundreds of iterations; its scale depends on method, network and number of classes.",
    ),
    Metric(
        "match/start_epoch",
        "Start epoch",
        "expert epoch",
        _ITERATION,
        "Where on the expert's trajectory this iteration began; uniform on 0 to T+ - 1.",
        "Not spread over the whole range: too few iterations, or a window that keeps it in one place.",
    ),
    Metric(
        "match/skipped",
        "Gradients not used",
        "number since the first iteration",
        _ITERATION,
        "Segments (trajectories) or updates whose loss or gradient was not finite, or whose gradient was beyond its "
        "running scale by far; they are left out.",
        "Rising steadily: steps overflow; ten iterations in a row without a usable gradient stop the run.",
    ),
    Metric(
        "student/lr_alpha",
        "Student learning rate alpha",
        "1",
        _ITERATION,
        "The learned step size; it is published with the set and is what a fresh network trains with.",
        "Falling towards 0 or doubling again and again: lower distill.step_lr (sgd: lr_lr, where a non-positive "
        "alpha stops the run).",
    ),
    Metric(
        "student/nu",
        "Balance nu",
        "1",
        _ITERATION,
        "The factor of the inner loss at this start epoch (Eq. 20); 1 when balancing is off.",
        "Cannot be bad by itself: it follows from the start epoch.",
    ),
    Metric(
        "match/accuracy",
        "Accuracy of the predictions",
        "fraction, 0 to 1",
        _ITERATION,
        "Share of the iteration's real training images that the ridge regression on the set gets right (frepo).",
        "1/K (chance), or falling: feature_regression.lr is too high.",
    ),
    Metric(
        "labels/margin",
        "Margin of the learned labels",
        "0 to 1/K",
        _ITERATION,
        "Mean distance between the largest and the second entry of a label, at most 1/K (frepo).",
        "Near 0: labels are ambiguous.",
    ),
    Metric(
        "student/networks",
        "Networks used up",
        "number since the first iteration",
        _ITERATION,
        "Networks whose life has ended (cafe): their accuracy on real images settled.",
        "0 throughout: no network settles; feature_alignment.settled is too small for the noise of the query.",
    ),
    Metric(
        "student/inner_epochs",
        "Epochs of training between updates",
        "epochs",
        _ITERATION,
        "Epochs the present network was trained on the set before this iteration (cafe).",
        "Always at feature_alignment.inner_limit: the network has converged and its accuracy moves no more.",
    ),
    Metric(
        "gradient/images_norm",
        "Gradient of the pixels",
        "norm over the whole set",
        _ITERATION,
        "Length of the matching loss's gradient with respect to all synthetic pixels.",
        "0: nothing moves; sudden jumps by a factor of 10 or more: distill.step_img (sgd: lr_img) is too high.",
    ),
    Metric(
        "gradient/alpha",
        "Gradient of alpha",
        "loss per unit of alpha",
        _ITERATION,
        "Negative means that a larger step would match better.",
        "One sign throughout: alpha has not arrived; its start value or distill.step_lr (sgd: lr_lr) is far off.",
    ),
    Metric(
        "synthetic/images",
        "The images",
        "pixels",
        _ITERATION,
        "A grid of the synthetic set, a row per class, up to 10 images per class.",
        "Saturated noise: distill.step_img (sgd: lr_img) is too high. Unchanged: it is too low.",
    ),
    Metric(
        "synthetic/pixels",
        "Histogram of the images",
        "model space: after normalisation or whitening",
        _ITERATION,
        "Distribution of all values of the synthetic images as a network sees them.",
        "Tails that grow without end: values no real image has, which other architectures cannot read.",
    ),
    Metric(
        "expert/validation_accuracy",
        "Expert accuracy",
        "fraction, 0 to 1",
        _EPOCH,
        "Top-1 accuracy of the expert's recorded weights on the validation split (Fig. 9).",
        "Falling after the first epochs, or near chance: the expert teaches nothing worth following.",
    ),
    Metric(
        "expert/avg_var",
        "Avg_Var so far",
        "squared distance in weight space per epoch",
        _EPOCH,
        "Mean of the squared moves between recorded epochs up to here (Sec. V-F1); the last value is the expert's.",
        "Many times that of plain SGD on the same data: the path is too rough for a student to follow.",
    ),
    Metric(
        "expert/move",
        "Move of this epoch",
        "squared distance in weight space",
        _EPOCH,
        "Squared distance between the weights of this epoch and the one before.",
        "A spike: a jump the student cannot make in N steps; look at expert.lr, momentum and the clipped loss.",
    ),
    Metric(
        "expert/train_loss",
        "Expert training loss",
        "nats, scaled by the clipping coefficient, with the penalty",
        _EPOCH,
        "Mean loss of Eq. 19 over the epoch's batches.",
        "Rising, or not a number (which stops the expert).",
    ),
    Metric(
        "expert/penalty",
        "Gradient penalty",
        "squared distance of the input gradient's norm from K",
        _EPOCH,
        "Mean of the unweighted penalty of Eq. 19 over the epoch's batches; 0 where it is off.",
        "Growing: the penalty weight mu is too small to hold the input gradient near K.",
    ),
    Metric(
        "evaluation/test_accuracy",
        "Test accuracy",
        "fraction, 0 to 1",
        "network number",
        "Top-1 accuracy of one fresh network on the whole test split, strict protocol: last pass, no choice.",
        "Below the row of random real images, or a spread as large as the differences to be told apart.",
    ),
)

BY_TAG = {metric.tag: metric for metric in METRICS}
