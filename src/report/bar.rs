//! The progress bar on a terminal. Without the feature `cli` there is none: see [`Bar::EXISTS`].

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
    /// Bytes that are done.
    pub done: u64,
    /// Bytes that there are.
    pub all: u64,
    /// Text before the message.
    pub prefix: String,
    /// Text at the end, cut if it is too long.
    pub message: String,
}

#[cfg(feature = "cli")]
impl Bar {
    /// Whether this build can draw a bar.
    pub const EXISTS: bool = true;

    /// A bar that is drawn eight times a second at most.
    pub fn new() -> Bar {
        Bar { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8)) }
    }

    /// Runs `print` while the bar is out of the way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Draws a state.
    pub fn draw(&self, shown: Shown) {
        if let Ok(style) = ProgressStyle::with_template(shown.template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        // The position last: it draws, and must not be seen beyond an old length.
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

    /// A bar that draws nothing.
    pub fn new() -> Bar {
        Bar {}
    }

    /// Runs `print`.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        print()
    }

    /// Draws nothing.
    pub fn draw(&self, _: Shown) {}

    /// Removes nothing.
    pub fn clear(&self) {}
}

impl Default for Bar {
    fn default() -> Bar {
        Bar::new()
    }
}
