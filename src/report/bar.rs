//! The progress bar on a terminal. It needs the feature `cli`: see [`Bar::EXISTS`].

#[cfg(feature = "cli")]
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on stderr. Clones draw the same bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    #[cfg(feature = "cli")]
    bar: ProgressBar,
}

#[cfg(feature = "cli")]
impl Bar {
    pub(crate) const EXISTS: bool = true;

    /// Makes a bar that is drawn at most eight times a second.
    pub(crate) fn on_stderr() -> Bar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        // The template is valid, so the default is never used.
        let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        Bar { bar: bar.with_style(style) }
    }

    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Draws a line, which is cut at the width of the terminal.
    pub(crate) fn draw(&self, line: String) {
        self.bar.set_message(line);
        self.bar.tick();
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(not(feature = "cli"))]
impl Bar {
    pub const EXISTS: bool = false;

    pub fn on_stderr() -> Bar {
        Bar {}
    }

    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        print()
    }

    pub fn draw(&self, _: String) {}

    pub fn clear(&self) {}
}
