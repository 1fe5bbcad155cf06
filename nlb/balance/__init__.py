"""Who gets it: targets at run time, their health, groups and policies. Pure: no socket, clock or chance in here."""
