//! The progress bar on a terminal. It needs the feature `cli`: see [`Bar::EXISTS`].

#[cfg(feature = "cli")]
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on stderr. Clones draw the same bar.
#[derive(Clone, Debug)]
pub struct Bar {
    #[cfg(feature = "cli")]
    bar: ProgressBar,
}

/// The state that a bar shows.
#[derive(Debug)]
pub struct Shown {
    /// The form of the line, as a template of indicatif.
    pub template: &'static str,
    /// The bytes that are done.
    pub done: u64,
    /// The total of bytes.
    pub all: u64,
    /// Text before the message.
    pub prefix: String,
    /// Text at the end, which is cut if it is too long.
    pub message: String,
}

#[cfg(feature = "cli")]
impl Bar {
    /// Whether this build can draw a bar.
    pub const EXISTS: bool = true;

    /// Makes a bar that is drawn at most eight times a second.
    pub fn new() -> Bar {
        Bar { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8)) }
    }

    /// Runs `print` while the bar is cleared.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Draws a state.
    pub fn draw(&self, shown: Shown) {
        if let Ok(style) = ProgressStyle::with_template(shown.template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        // The position comes last, because setting it draws the bar, and it must not exceed the old length.
        self.bar.set_length(shown.all);
        self.bar.set_prefix(shown.prefix);
        self.bar.set_position(shown.done);
        self.bar.set_message(shown.message);
        self.bar.tick();
    }

    /// Removes the bar from the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(not(feature = "cli"))]
impl Bar {
    /// Whether this build can draw a bar.
    pub const EXISTS: bool = false;

    /// Makes a bar that draws nothing.
    pub fn new() -> Bar {
        Bar {}
    }

    /// Runs `print`.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        print()
    }

    /// Draws nothing.
    pub fn draw(&self, _: Shown) {}

    /// Does nothing.
    pub fn clear(&self) {}
}

impl Default for Bar {
    fn default() -> Bar {
        Bar::new()
    }
}
