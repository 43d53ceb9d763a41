//! Progress of a long job.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on stderr; invisible with `--json` and where stderr is no terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of `total` units named `unit`; without a total it only counts.
    ///
    /// # Panics
    ///
    /// Never: the templates are constants.
    #[must_use]
    pub fn new(total: Option<u64>, unit: &'static str, json: bool) -> Self {
        // Hidden by indicatif itself where stderr is no terminal.
        let target = if json {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match (total, unit) {
            (Some(_), "bytes") => "{wide_bar} {bytes}/{total_bytes}  {msg}  {eta} left",
            (Some(_), _) => "{wide_bar} {human_pos}/{human_len}  {msg}  {eta} left",
            (None, _) => "{spinner} {human_pos}  {msg}  {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are valid");
        bar.set_style(style.progress_chars("━╸─"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// A spinner for a job of unknown length.
    ///
    /// # Panics
    ///
    /// Never: the template is a constant.
    #[must_use]
    pub fn spinner(message: String, json: bool) -> Self {
        let progress = Self::new(None, "", json);
        let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}").expect("the template is valid");
        progress.0.set_style(style);
        progress.say(message);
        progress
    }

    /// How far the job is, in units.
    pub fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// What to say beside the bar.
    pub fn say(&self, message: String) {
        self.0.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
