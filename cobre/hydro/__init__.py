"""cobre.hydro"""
