"""What people see in a notebook: magics, forms, monitors. The only place that knows IPython and ipywidgets."""
