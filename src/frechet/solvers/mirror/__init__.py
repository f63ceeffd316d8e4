"""Methods that step in a Bregman geometry."""
