// An invisible child of a form. It keeps plain keys typed in the form from the notebook, where "d d" deletes the cell;
// Ctrl+Enter deploys; and on a wish from Python it puts the focus on the first field that is to be mended.

function render({ model, el }) {
  let form = null;
  el.style.display = "none";

  function submit(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    // Blur first: a text field tells its value when it loses the focus.
    document.activeElement?.blur();
    model.send({ kind: "submit" });
    event.preventDefault();
    event.stopPropagation();
  }

  function guard(event) {
    if (!event.ctrlKey && !event.metaKey && !event.altKey && event.key !== "Escape" && event.key !== "Tab") {
      event.stopPropagation();
    }
  }

  function focus(message) {
    if (message.kind !== "focus" || !form) return;
    requestAnimationFrame(() => {
      const first = form.querySelector(".millrace-problem :is(input, select, textarea)");
      if (first) first.focus();
    });
  }

  // A child is drawn before it is put into its form.
  function attach(tries) {
    form = el.closest(".millrace-form");
    if (form) {
      form.addEventListener("keydown", guard);
      form.addEventListener("keydown", submit, true); // on its way down: text fields let no key up
    } else if (tries > 0) requestAnimationFrame(() => attach(tries - 1));
  }

  attach(120);
  model.on("msg:custom", focus);
  return () => {
    model.off("msg:custom", focus);
    form?.removeEventListener("keydown", guard);
    form?.removeEventListener("keydown", submit, true);
  };
}

export default { render };
